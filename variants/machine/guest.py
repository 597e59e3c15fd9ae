"""The guest: what the code inside the VM does between a VM entry and the next VM exit.

L1, L2 and the SMI handler each run a small loop: execute the step's instruction if it belongs
to this context, then trap to the host once with an OUT that L1 does not intercept, which ends
the step. Interrupt handlers write EOI and return, NMI handlers return.
"""

from enum import Enum, auto
from typing import Final

from variants.machine.ops import kvm_x86_ops
from variants.machine.preemption import preempt
from variants.machine.vcpu import Frame, Vcpu

ANYWHERE: Final = frozenset({"nop", "hlt", "sti", "cli", "icr"})
UNTRAPPED: Final = frozenset({"nop", "sti", "cli"})


class Exit(Enum):
    """Why the guest came back to KVM."""

    HANDLED = auto()
    """A window or IRET intercept, already dealt with."""
    EXTERNAL_INTERRUPT = auto()
    """A kick, or the immediate exit KVM asked for."""
    EOI = auto()
    INSTRUCTION = auto()
    OUT = auto()
    SHUTDOWN = auto()
    FAIL_ENTRY = auto()
    """The processor refused the VM entry."""


def can_execute(vcpu: Vcpu, op: str) -> bool:
    """Does `op` belong to the context the vCPU is in? The guest skips what does not."""
    if op in ANYWHERE:
        return True
    if vcpu.smm:
        return op == "rsm"
    if vcpu.guest_mode:
        return op in ("vmcall", "vmmcall")
    match op:
        case "vmxon":
            return not vcpu.vmxon
        case "vmxoff" | "vmlaunch":
            return vcpu.vmxon
        case "clgi" | "stgi" | "vmrun" | "rdmsr":
            return True
        case _:
            return False


def deliver_event(vcpu: Vcpu) -> bool:
    """Enter the handler of the injected NMI or interrupt; false if there is none for it."""
    if vcpu.nmi_injected:
        kind = "nmi"
    elif vcpu.irq_injected >= 0:
        kind = "irq"
    else:
        return True
    if vcpu.smm:
        return False
    if kind == "nmi":
        kvm_x86_ops.nmi_delivered(vcpu)
    vcpu.in_hlt = False
    vcpu.frames += (Frame(kind, vcpu.rflags_if),)
    vcpu.rflags_if = False
    vcpu.progressed = True
    return True


def run_guest(vcpu: Vcpu, immediate_exit: bool) -> Exit:
    """Run from VM entry to VM exit.

    immediate_exit: something makes the guest exit before its first instruction; an injected
        event is delivered all the same, but its handler has yet to run, so nothing shows it.
        In SMM an event has no handler: the IDT limit is 0.
    """
    if vcpu.vmcs02_loaded and not vcpu.guest_mode:
        # A reset left L2's VMCS loaded. L1 does not let L2 run without paging ("unrestricted
        # guest"), so prepare_vmcs02 has cleared that control, and real mode is invalid state.
        return Exit.FAIL_ENTRY
    if vcpu.l1_lost:
        # L1's intercepts, zero as they are, lack that of VMRUN, which the processor insists on.
        return Exit.FAIL_ENTRY
    if not deliver_event(vcpu):
        return Exit.SHUTDOWN
    if immediate_exit:
        return Exit.EXTERNAL_INTERRUPT
    while True:
        if kvm_x86_ops.window_exit(vcpu):
            return Exit.HANDLED
        if vcpu.frames:
            frame = vcpu.frames[-1]
            if frame.kind == "irq":
                vcpu.taken.append(f"fixed:{vcpu.isr[-1]:#04x}")
                return Exit.EOI
            if frame.kind == "nmi":
                vcpu.taken.append("nmi")
                vcpu.frames = (*vcpu.frames[:-1], frame._replace(kind="iret"))
            if not kvm_x86_ops.iret(vcpu):
                return Exit.HANDLED
            vcpu.progressed = True
            vcpu.frames = vcpu.frames[:-1]
            vcpu.rflags_if = frame.rflags_if
            continue
        vcpu.progressed = True
        if vcpu.in_hlt:
            vcpu.in_hlt = False
            vcpu.woke = True
        if vcpu.boot >= 0:
            vcpu.apic_enabled = vcpu.svme = True
            return Exit.OUT
        op = vcpu.insn
        if not op or not can_execute(vcpu, op):
            return Exit.OUT
        vcpu.executed = True
        if op not in UNTRAPPED:
            return Exit.INSTRUCTION
        vcpu.insn = ""
        if op != "nop":
            vcpu.rflags_if = op == "sti"
        if preempt(vcpu, "guest-executed"):
            return Exit.EXTERNAL_INTERRUPT
