"""INIT, SIPI and their neighbours as Intel's SDM has them; sections are those of vol. 3, 2020."""

from collections.abc import Iterator
from typing import Final

from fuzz.judge.states import (
    ACTIVITIES,
    WFS,
    Event,
    Vcpu,
    Way,
    doubted,
    enter_smm,
    handled,
    reset,
    waits_after_reset,
)
from variants.machine.observation import NestedExit
from variants.machine.step import Step

LATE_AFTER: Final = {"vmlaunch": "vmx-init-entry", "vmxoff": "vmx-init-vmxoff", "rsm": "init-rsm"}
"""The rule that an INIT breaks which such an instruction unblocks and which is not taken then."""


def blocked(vcpu: Vcpu, event: Event) -> str:
    if vcpu.smm and event in ("init", "smi", "nmi"):
        return "smm-blocks"
    if vcpu.activity == WFS and event in ("smi", "nmi", "fixed"):
        return "vmx-wfs-blocks" if vcpu.l2 else "wfs-blocks"
    if event == "init":
        if vcpu.l2:
            return "vmx-init-wfs" if vcpu.activity == WFS else ""
        return "vmx-init-root" if vcpu.vmx else ""
    if event == "nmi":
        return "nmi-blocked" if vcpu.nmi_blocked else ""
    if event == "fixed" and not exits(vcpu, "intr"):
        return "" if vcpu.interrupts else "interrupt-flag"
    return ""


def take(vcpu: Vcpu, event: Event) -> Iterator[Way]:
    match event:
        case "init":
            yield from take_init(vcpu)
        case "sipi":
            yield from take_sipi(vcpu)
        case "smi":
            yield enter_smm(vcpu)
        case "nmi" if exits(vcpu, "nmi"):
            fewer = vcpu._replace(nmi=vcpu.nmi - 1)
            for way in vm_exit(fewer, "EXCEPTION_NMI"):
                # 27.5.5: an exit that an NMI causes blocks NMIs.
                yield way._replace(vcpu=way.vcpu._replace(nmi_blocked=True))
            yield handled(vcpu, event)._replace(breaks=("vmx-event-exit",))
        case "nmi" if exits(vcpu, "intr") and vcpu.fixed:
            yield handled(vcpu, event)
            # The interrupt makes L2 exit before the NMI handler can show itself.
            entered = vcpu._replace(nmi=vcpu.nmi - 1, nmi_blocked=True, activity="active")
            yield Way(entered, leaves=True)
        case "fixed" if exits(vcpu, "intr"):
            yield from vm_exit(vcpu, "EXTERNAL_INTERRUPT")
            yield handled(vcpu, event)._replace(breaks=("vmx-event-exit",))
        case _:
            yield handled(vcpu, event)


def late(vcpu: Vcpu, event: Event, op: str) -> str:
    match event:
        case "init":
            return LATE_AFTER.get(op) or ("vmx-init-exit" if vcpu.l2 else "init-resets")
        case "sipi":
            return "vmx-sipi-exit" if vcpu.l2 else "sipi-starts"
        case "smi":
            return "smi-taken"
        case "nmi":
            return "vmx-event-exit" if exits(vcpu, "nmi") else "nmi-taken"
        case _:
            return "vmx-event-exit" if exits(vcpu, "intr") else "interrupt-taken"


def execute(vcpu: Vcpu, step: Step) -> Iterator[Way]:
    match step.op:
        case "vmxon":
            yield Way(vcpu._replace(vmx=True))
        case "vmxoff":
            yield Way(vcpu._replace(vmx=False))
        case "vmlaunch" if step.mode == WFS:
            yield from enter_in_wfs(vcpu, step)
        case "vmlaunch":
            yield Way(enter(vcpu, step))
        case "vmcall":
            yield from vm_exit(vcpu, "VMCALL")
        case "rdmsr":
            for offered in (False, True):
                shown = f"rdmsr:{offered << 8:#x}"
                after = vcpu._replace(wfs_offered=offered)
                yield Way(after, offers(vcpu, offered), taken=(shown,))


def arrives_in_wfs(vcpu: Vcpu, after: Vcpu) -> tuple[Vcpu, ...]:
    """Blocked; whether it is then kept is not said."""
    return vcpu, after


def exits(vcpu: Vcpu, control: str) -> bool:
    """Does L1 make NMIs ("nmi") or external interrupts ("intr") exit?"""
    return vcpu.l2 and control in vcpu.controls


def take_init(vcpu: Vcpu) -> Iterator[Way]:
    """25.2: in non-root operation INIT exits, elsewhere it resets.

    Nothing says whether the exit consumes it (silicon does): it may still be pending in root.
    """
    if vcpu.l2:
        for after in doubted(vcpu._replace(init=False), vcpu):
            yield from vm_exit(after, "INIT_SIGNAL")
    wrong = ("vmx-init-exit",) if vcpu.l2 else ()
    for after in reset(vcpu, waits=not vcpu.bsp):
        yield Way(after, wrong, leaves=True)
        if vcpu.vmx:
            yield Way(after._replace(vmx=True), wrong, leaves=True)


def take_sipi(vcpu: Vcpu) -> Iterator[Way]:
    """8.4: it starts who waits; 25.2: in non-root operation it exits."""
    assert vcpu.start is not None
    started = vcpu._replace(activity="active", start=None, boot=vcpu.start)
    if waits_after_reset(vcpu):
        yield Way(started, leaves=True)
        return
    for wrong in (started, started._replace(l2=False, controls=())):
        yield Way(wrong, ("vmx-sipi-exit",), leaves=True)
    yield from vm_exit(vcpu, "SIPI_SIGNAL", vcpu.start)


def vm_exit(vcpu: Vcpu, reason: str, qualification: int = 0) -> Iterator[Way]:
    """27: back to L1 with IF=0; the activity L2 was in is saved. Blocking by NMI stays as it is,
    or as a hypervisor that keeps it for L1 has it."""
    shown = NestedExit(reason, qualification, vcpu.activity)
    after = vcpu._replace(l2=False, activity="active", interrupts=False, controls=(), boot=None)
    after = after._replace(start=None)
    for blocked in {vcpu.nmi_blocked, vcpu.l1_nmi_blocked}:
        yield Way(
            after._replace(exit=shown, nmi_blocked=blocked, l1_nmi_blocked=False), leaves=True
        )


def enter(vcpu: Vcpu, step: Step) -> Vcpu:
    """26: VM entry with the guest state that the schedule format gives it.

    An INIT that wait-for-SIPI then blocks need not be held.
    """
    activity = next(one for one in ACTIVITIES if one == step.mode)
    entered = vcpu._replace(l2=True, activity=activity, interrupts=False, controls=step.controls)
    if activity == WFS and vcpu.init:
        entered = entered._replace(overdue=vcpu.overdue | {"init"})
    return entered._replace(nmi_blocked=False, l1_nmi_blocked=vcpu.nmi_blocked)


def enter_in_wfs(vcpu: Vcpu, step: Step) -> Iterator[Way]:
    """26.3.1.5: accepted if IA32_VMX_MISC has the bit for it, else the entry fails."""
    yield Way(enter(vcpu, step)._replace(wfs_offered=True), offers(vcpu, True))
    failed = vcpu._replace(exit=NestedExit("INVALID_STATE", 0, WFS), interrupts=False)
    yield Way(failed._replace(wfs_offered=False), offers(vcpu, False))


def offers(vcpu: Vcpu, offered: bool) -> tuple[str, ...]:
    """The rules broken where wait-for-SIPI turns out to be offered, or not."""
    if vcpu.wfs_offered is None:
        return () if offered else ("vmx-wfs-offered",)
    return () if vcpu.wfs_offered is offered else ("vmx-misc",)
