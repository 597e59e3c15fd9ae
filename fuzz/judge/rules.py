"""The rules of the manuals, as data; docs/rules.md lists them, and what the manuals leave open.

Sections of Intel's SDM are those of volume 3 as of 2020 (its VMX chapters, here 23 to 34, have
moved up by one or two since), sections of AMD's APM those of volume 2. "From memory" marks what
should be looked up before it is quoted.
"""

from typing import Final, NamedTuple


class Rule(NamedTuple):
    """vendor: whose rule it is, "" for both. citation: where it stands. says: one sentence."""

    id: str
    vendor: str
    citation: str
    says: str


RULES: Final = (
    Rule(
        "vmx-init-exit",
        "vmx",
        "SDM 25.2, 23.8",
        "INIT in VMX non-root operation causes a VM exit, and does nothing else.",
    ),
    Rule(
        "vmx-init-entry",
        "vmx",
        "SDM 23.8, 25.2",
        "INIT held in VMX root operation exits at VM entry, before L2's first instruction.",
    ),
    Rule(
        "vmx-init-vmxoff",
        "vmx",
        "SDM 23.8",
        "INIT held in VMX root operation takes effect when VMXOFF unblocks it.",
    ),
    Rule(
        "vmx-init-wfs",
        "vmx",
        "SDM 25.2, 26.7.2",
        "INIT is blocked while L2 waits for SIPI: it neither exits nor resets.",
    ),
    Rule(
        "vmx-init-root",
        "vmx",
        "SDM 23.8",
        "INIT is blocked in VMX root operation: it is held, and resets nothing.",
    ),
    Rule(
        "vmx-sipi-exit",
        "vmx",
        "SDM 25.2",
        "SIPI causes a VM exit where L2 waits for SIPI.",
    ),
    Rule(
        "vmx-wfs-offered",
        "vmx",
        "SDM 25.2, 26.7.2; bit 8 of IA32_VMX_MISC (A.6)",
        "VM entry can put L2 into wait-for-SIPI (optional by A.6, offered by every processor).",
    ),
    Rule(
        "vmx-misc",
        "vmx",
        "SDM 26.3.1.5, A.6",
        "VM entry accepts the activity state wait-for-SIPI if and only if IA32_VMX_MISC says so.",
    ),
    Rule(
        "vmx-wfs-blocks",
        "vmx",
        "SDM 26.7.2",
        "While L2 waits for SIPI, interrupts, NMIs and SMIs are blocked and do not exit.",
    ),
    Rule(
        "vmx-event-exit",
        "vmx",
        "SDM 25.2",
        "An NMI or interrupt that L1 makes exit does exit, before L2 executes or handles anything.",
    ),
    Rule(
        "vmx-exit-activity",
        "vmx",
        "SDM 27.1, 27.3.4",
        "A VM exit saves the activity state that L2 was in before it.",
    ),
    Rule(
        "vmx-exit-qualification",
        "vmx",
        "SDM 27.2.1",
        "The exit qualification of a SIPI exit is the vector, and else 0 here.",
    ),
    Rule(
        "vmx-operation",
        "vmx",
        "SDM 23.7; VMXON and VMXOFF in vol. 2",
        "VMXON enters VMX operation and VMXOFF leaves it; SMM and VM exits do not.",
    ),
    Rule(
        "svm-init-exit",
        "svm",
        "APM 15.13.4, table 15-12",
        "An intercepted INIT makes the guest exit with VMEXIT_INIT, and does nothing else.",
    ),
    Rule(
        "svm-init-guest",
        "svm",
        "APM 15.28, table 15-12",
        "An INIT that is not intercepted resets the processor, out of the guest too.",
    ),
    Rule(
        "svm-init-stgi",
        "svm",
        "APM 15.17, 15.28, table 15-10",
        "INIT held by GIF=0 takes effect when STGI sets GIF.",
    ),
    Rule(
        "svm-init-vmrun",
        "svm",
        "APM 15.5, 15.17, 15.28",
        "INIT held by GIF=0 takes effect, or exits, when VMRUN sets GIF.",
    ),
    Rule(
        "svm-gif-holds",
        "svm",
        "APM 15.17, table 15-10",
        "GIF=0 holds INIT, SMI, NMI and interrupts pending.",
    ),
    Rule(
        "svm-gif",
        "svm",
        "APM 15.17",
        "VMRUN and STGI set GIF, #VMEXIT and CLGI clear it, and nothing else does.",
    ),
    Rule(
        "svm-event-exit",
        "svm",
        "APM 15.13, tables 15-10 and 15-12",
        "An intercepted SMI, NMI or interrupt makes the guest exit before it executes anything.",
    ),
    Rule(
        "init-rsm",
        "",
        "SDM 34.5, 34.14.2; APM 10.3.3",
        "INIT held in SMM takes effect after RSM, unless something else blocks it.",
    ),
    Rule(
        "init-resets",
        "",
        "SDM 8.4, 9.1; APM 16.5",
        "INIT that nothing blocks resets the processor before its next instruction.",
    ),
    Rule(
        "sipi-starts",
        "",
        "SDM 8.4; APM 16.5",
        "SIPI starts a processor that waits for it.",
    ),
    Rule(
        "sipi-vector",
        "",
        "SDM 8.4, 10.6.1; APM 16.5",
        "A processor starts at the vector that the SIPI carries.",
    ),
    Rule(
        "hlt-sipi",
        "",
        "SDM 8.4; HLT in SDM vol. 2 and APM vol. 3",
        "SIPI does not end a HLT.",
    ),
    Rule(
        "hlt-init",
        "",
        "SDM 23.8, 27.1; APM 15.17; HLT in SDM vol. 2 and APM vol. 3",
        "An INIT that is blocked does not end a HLT.",
    ),
    Rule(
        "sipi-kept",
        "",
        "SDM 8.4, 25.2, 26.7.2; APM 16.5",
        "SIPI that comes outside of wait-for-SIPI is discarded: it does nothing later either.",
    ),
    Rule(
        "hlt-blocked",
        "",
        "SDM 27.1; HLT in SDM vol. 2 and APM vol. 3",
        "An interrupt, NMI or SMI that is blocked does not end a HLT.",
    ),
    Rule(
        "hlt-alone",
        "",
        "HLT in SDM vol. 2 and APM vol. 3",
        "A HLT lasts until an event ends it.",
    ),
    Rule(
        "wfs-blocks",
        "",
        "SDM 8.4; APM 16.5",
        "While a processor waits for SIPI, interrupts, NMIs and SMIs are not taken.",
    ),
    Rule(
        "wfs-alone",
        "",
        "SDM 8.4, 26.7.2; APM 16.5",
        "Nothing but a SIPI ends wait-for-SIPI.",
    ),
    Rule(
        "smm-blocks",
        "",
        "SDM 34.5, 34.8; APM 10.3.3",
        "INIT, SMI and NMI are blocked in SMM.",
    ),
    Rule(
        "rsm-hlt",
        "",
        "SDM 34.10; APM 10.3.7",
        "RSM goes back to the HLT that the SMI interrupted (auto HALT restart).",
    ),
    Rule(
        "smi-taken",
        "",
        "SDM 6.9, 34.3; APM 10.3.3, 15.22.2",
        "SMI that nothing blocks is taken before the next instruction.",
    ),
    Rule(
        "nmi-taken",
        "",
        "SDM 6.7, 6.9; APM 8.5",
        "NMI that nothing blocks is taken before the next instruction.",
    ),
    Rule(
        "nmi-blocked",
        "",
        "SDM 6.7.1, 27.5.5; APM 8.2.3 (from memory)",
        "After an NMI, or a VM exit by one, further NMIs are blocked until IRET.",
    ),
    Rule(
        "interrupt-taken",
        "",
        "SDM 6.8.1, 6.9; APM 8.5",
        "An interrupt that nothing blocks is taken before the next instruction.",
    ),
    Rule(
        "interrupt-flag",
        "",
        "SDM 6.8.1; APM 15.21.1",
        "IF=0 blocks interrupts.",
    ),
    Rule(
        "priority",
        "",
        "SDM 6.9, 10.8.3; APM 8.5, 16.6 (from memory)",
        "NMIs go before interrupts, and interrupts by their vectors, the highest first.",
    ),
    Rule(
        "migration",
        "",
        "no manual's: a processor is not told that it has moved",
        "Saving a processor and restoring it elsewhere keeps its architectural state.",
    ),
    Rule(
        "unexplained",
        "",
        "none: what the manuals allow, and no few rules broken, shows this",
        "A processor does what the manuals allow.",
    ),
)
"""Where one step can be explained by either of two rules broken, it is the earlier one here."""

BY_ID: Final = {rule.id: rule for rule in RULES}
ORDER: Final = {rule.id: place for place, rule in enumerate(RULES)}
