"""For each rule of the judge one schedule, and two ways for its last step to end: one that breaks
the rule, and one that only just keeps it. Hand-made: no variant shows all of them."""

from typing import Any, Final, NamedTuple

from fuzz.schedule.schedule import Schedule
from variants.machine.observation import NestedExit, Observation
from variants.machine.step import Step, Vendor

Shown = tuple[Step, Observation]


class Case(NamedTuple):
    """before: the steps on the way, with what they show. last: the step that is ruled on."""

    vendor: Vendor
    before: tuple[Shown, ...]
    last: Step
    breaks: Observation
    keeps: Observation

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.vendor, 2, (*(step for step, _ in self.before), self.last))

    def trace(self, last: Observation) -> list[Observation]:
        return [*(shown for _, shown in self.before), last]


def see(outcome: str = "l1", **fields: Any) -> Observation:
    """What vCPU 1 shows, outside VMX operation and with GIF=1 unless told."""
    plain: dict[str, Any] = {
        "on": 1,
        "executed": True,
        "vector": None,
        "nested_exit": None,
        "guest_mode": outcome == "l2",
        "gif": True,
        "vmxon": False,
        "smm": outcome == "smm",
        "latched_init": None,
        "mp_state": None,
        "taken": (),
        "woke": False,
        "warn": None,
    }
    return Observation(outcome=outcome, **(plain | fields))


def not_executed(outcome: str, **fields: Any) -> Observation:
    return see(outcome, executed=False, **fields)


def root(**fields: Any) -> Observation:
    """VMX root operation."""
    return see(vmxon=True, **fields)


def l2(outcome: str = "l2", **fields: Any) -> Observation:
    """VMX non-root operation."""
    return see(outcome, vmxon=True, guest_mode=True, **fields)


def exited(reason: str, activity: str, qualification: int = 0, **fields: Any) -> Observation:
    """L1, after a VM exit (VMX)."""
    return root(nested_exit=NestedExit(reason, qualification, activity), **fields)


def vmexit(reason: str) -> Observation:
    """L1, after a #VMEXIT that came before the step's instruction."""
    return not_executed("l1", gif=False, nested_exit=NestedExit(reason, 0, ""))


def message(mode: str, vector: int = 0) -> Shown:
    return Step("icr", 0, 1, mode, vector), see(on=0)


def on(op: str, **fields: Any) -> Step:
    return Step(op, 1, **fields)


INIT, NMI = message("init"), message("nmi")
SIPI, FIXED = message("sipi", 0x12), message("fixed", 0x31)
SMI = (on("smi"), see("ioctl"))
NOP = on("nop")
WAITS = not_executed("blocked")
RESET = (INIT, (NOP, WAITS))
HALTED = (on("hlt"), see("blocked"))
IN_SMM = (SMI, (NOP, not_executed("smm")))
WOKE = see(woke=True)
VMXON = (on("vmxon"), root())
ENTRY = on("vmlaunch", mode="active")
IN_L2 = (VMXON, (ENTRY, l2()))
ENTRY_WFS = on("vmlaunch", mode="wait-for-sipi")
IN_WFS = (VMXON, (ENTRY_WFS, l2("blocked")))
L2_WAITS = l2("blocked", executed=False)
WITH_NMI_EXITING = (VMXON, (on("vmlaunch", mode="active", controls=("nmi",)), l2()))
NMI_EXIT = exited("EXCEPTION_NMI", "active", executed=False)
GIF_0 = (on("clgi"), see(gif=False))
STARTS = not_executed("sipi", vector=0x12)


def vmx(*before: Shown, last: Step, breaks: Observation, keeps: Observation) -> Case:
    """A case of VMX's."""
    everywhere = [(step, shown._replace(gif=None)) for step, shown in before]
    ends = breaks._replace(gif=None), keeps._replace(gif=None)
    return Case("vmx", tuple(everywhere), last, *ends)


def svm(*before: Shown, last: Step, breaks: Observation, keeps: Observation) -> Case:
    """A case of SVM's."""
    everywhere = [(step, shown._replace(vmxon=None)) for step, shown in before]
    ends = breaks._replace(vmxon=None), keeps._replace(vmxon=None)
    return Case("svm", tuple(everywhere), last, *ends)


SIPI_EXIT = exited("SIPI_SIGNAL", "wait-for-sipi", 0x12, executed=False)
INIT_EXIT = exited("INIT_SIGNAL", "active", executed=False)

CASES: Final = {
    "vmx-init-exit": vmx(*IN_L2, INIT, last=NOP, breaks=l2(), keeps=INIT_EXIT),
    "vmx-init-entry": vmx(
        VMXON, INIT, last=ENTRY, breaks=l2(), keeps=exited("INIT_SIGNAL", "active")
    ),
    "vmx-init-vmxoff": vmx(VMXON, INIT, last=on("vmxoff"), breaks=see(), keeps=see("blocked")),
    "vmx-init-wfs": vmx(
        *IN_WFS,
        INIT,
        last=NOP,
        breaks=exited("INIT_SIGNAL", "wait-for-sipi", executed=False),
        keeps=L2_WAITS,
    ),
    "vmx-init-root": vmx(VMXON, INIT, last=NOP, breaks=WAITS, keeps=root()),
    "vmx-sipi-exit": vmx(*IN_WFS, SIPI, last=NOP, breaks=L2_WAITS, keeps=SIPI_EXIT),
    "vmx-wfs-offered": vmx(
        last=on("rdmsr", mode="ia32-vmx-misc"),
        breaks=see(taken=("rdmsr:0x0",)),
        keeps=see(taken=("rdmsr:0x100",)),
    ),
    "vmx-misc": vmx(
        VMXON,
        (on("rdmsr", mode="ia32-vmx-misc"), root(taken=("rdmsr:0x100",))),
        last=ENTRY_WFS,
        breaks=exited("INVALID_STATE", "wait-for-sipi"),
        keeps=l2("blocked"),
    ),
    "vmx-wfs-blocks": vmx(*IN_WFS, NMI, last=NOP, breaks=l2(taken=("nmi",)), keeps=L2_WAITS),
    "vmx-event-exit": vmx(
        *WITH_NMI_EXITING, NMI, last=NOP, breaks=l2(taken=("nmi",)), keeps=NMI_EXIT
    ),
    "vmx-exit-activity": vmx(
        VMXON,
        (on("vmlaunch", mode="hlt"), l2("blocked")),
        INIT,
        last=NOP,
        breaks=INIT_EXIT,
        keeps=exited("INIT_SIGNAL", "hlt", executed=False),
    ),
    "vmx-exit-qualification": vmx(
        *IN_WFS,
        SIPI,
        last=NOP,
        breaks=exited("SIPI_SIGNAL", "wait-for-sipi", 0, executed=False),
        keeps=SIPI_EXIT,
    ),
    "vmx-operation": vmx(last=on("vmxon"), breaks=see(), keeps=root()),
    "svm-init-exit": svm(
        (on("vmrun", controls=("init",)), see("l2")),
        INIT,
        last=NOP,
        breaks=WAITS,
        keeps=vmexit("VMEXIT_INIT"),
    ),
    "svm-init-guest": svm((on("vmrun"), see("l2")), INIT, last=NOP, breaks=see("l2"), keeps=WAITS),
    "svm-init-stgi": svm(GIF_0, INIT, last=on("stgi"), breaks=see(), keeps=see("blocked")),
    "svm-init-vmrun": svm(GIF_0, INIT, last=on("vmrun"), breaks=see("l2"), keeps=see("blocked")),
    "svm-gif-holds": svm(GIF_0, INIT, last=NOP, breaks=WAITS, keeps=see(gif=False)),
    "svm-gif": svm(last=on("clgi"), breaks=see(), keeps=see(gif=False)),
    "svm-event-exit": svm(
        (on("vmrun", controls=("nmi",)), see("l2")),
        NMI,
        last=NOP,
        breaks=see("l2", taken=("nmi",)),
        keeps=vmexit("VMEXIT_NMI"),
    ),
    "init-rsm": svm(*IN_SMM, INIT, last=on("rsm"), breaks=see(), keeps=see("blocked")),
    "init-resets": svm(INIT, last=NOP, breaks=see(), keeps=WAITS),
    "sipi-starts": svm(*RESET, SIPI, last=NOP, breaks=WAITS, keeps=STARTS),
    "sipi-vector": vmx(*RESET, SIPI, last=NOP, breaks=STARTS._replace(vector=0x13), keeps=STARTS),
    "hlt-sipi": svm(HALTED, SIPI, last=NOP, breaks=WOKE, keeps=WAITS),
    "hlt-init": svm(
        GIF_0,
        INIT,
        last=on("hlt"),
        breaks=see(gif=False, woke=True),
        keeps=see("blocked", gif=False),
    ),
    "sipi-kept": vmx(SIPI, last=on("hlt"), breaks=WOKE, keeps=see("blocked")),
    "hlt-blocked": vmx(FIXED, last=on("hlt"), breaks=WOKE, keeps=see("blocked")),
    "hlt-alone": svm(last=on("hlt"), breaks=WOKE, keeps=see("blocked")),
    "wfs-blocks": vmx(
        *RESET, NMI, last=NOP, breaks=not_executed("bsp-reset", taken=("nmi",)), keeps=WAITS
    ),
    "wfs-alone": svm(*RESET, last=NOP, breaks=not_executed("bsp-reset"), keeps=WAITS),
    "smm-blocks": vmx(*IN_SMM, INIT, last=NOP, breaks=WAITS, keeps=see("smm")),
    "rsm-hlt": svm(
        HALTED,
        *IN_SMM,
        last=on("rsm"),
        breaks=see(),
        keeps=see("blocked"),
    ),
    "smi-taken": vmx(SMI, last=NOP, breaks=see(), keeps=not_executed("smm")),
    "nmi-taken": svm(NMI, last=NOP, breaks=see(), keeps=see(taken=("nmi",))),
    "nmi-blocked": vmx(
        *WITH_NMI_EXITING,
        NMI,
        (NOP, NMI_EXIT),
        NMI,
        last=NOP,
        breaks=root(taken=("nmi",)),
        keeps=root(),
    ),
    "interrupt-taken": svm(FIXED, last=on("sti"), breaks=see(), keeps=see(taken=("fixed:0x31",))),
    "interrupt-flag": vmx(FIXED, last=NOP, breaks=see(taken=("fixed:0x31",)), keeps=see()),
    "priority": vmx(
        FIXED,
        message("fixed", 0x41),
        last=on("sti"),
        breaks=see(taken=("fixed:0x31", "fixed:0x41")),
        keeps=see(taken=("fixed:0x41", "fixed:0x31")),
    ),
    "migration": svm(
        NMI,
        (on("save-restore"), see("ioctl")),
        last=NOP,
        breaks=see(),
        keeps=see(taken=("nmi",)),
    ),
    "unexplained": vmx(last=NOP, breaks=not_executed("shutdown"), keeps=see()),
}
"""By rule."""
