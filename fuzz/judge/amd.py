"""INIT, SIPI and their neighbours as AMD's APM has them; sections are those of vol. 2."""

from collections.abc import Iterator
from typing import Final

from fuzz.judge.states import WFS, Event, Vcpu, Way, enter_smm, handled, reset
from variants.machine.observation import NestedExit
from variants.machine.step import Step

LATE_AFTER: Final = {"stgi": "svm-init-stgi", "vmrun": "svm-init-vmrun", "rsm": "init-rsm"}
"""The rule that an INIT breaks which such an instruction unblocks and which is not taken then."""
CONTROL: Final = {"init": "init", "smi": "smi", "nmi": "nmi", "fixed": "intr"}
"""What intercepts an event."""


def blocked(vcpu: Vcpu, event: Event) -> str:
    if vcpu.smm and event in ("init", "smi", "nmi"):
        return "smm-blocks"
    if vcpu.activity == WFS and event in ("smi", "nmi", "fixed"):
        return "wfs-blocks"
    if not vcpu.gif and event != "sipi":
        return "svm-gif-holds"
    if event == "nmi":
        return "nmi-blocked" if vcpu.nmi_blocked else ""
    if event == "fixed":
        return "" if vcpu.interrupts else "interrupt-flag"
    return ""


def take(vcpu: Vcpu, event: Event) -> Iterator[Way]:
    """An intercepted event makes the guest exit and stays pending (tables 15-10, 15-12)."""
    exits = intercepted(vcpu, event)
    if exits:
        yield vm_exit(vcpu, f"VMEXIT_{CONTROL[event].upper()}")
    match event:
        case "init":
            yield from take_init(vcpu, ("svm-init-exit",) if exits else ())
        case "sipi":
            start = vcpu._replace(activity="active", start=None, boot=vcpu.start)
            yield Way(start._replace(l2=False), leaves=True)
        case _:
            way = enter_smm(vcpu) if event == "smi" else handled(vcpu, event)
            yield way._replace(breaks=("svm-event-exit",) if exits else ())


def late(vcpu: Vcpu, event: Event, op: str) -> str:
    exits = intercepted(vcpu, event)
    match event:
        case "init":
            own = "svm-init-exit" if exits else "svm-init-guest" if vcpu.l2 else "init-resets"
            return LATE_AFTER.get(op, own)
        case "sipi":
            return "sipi-starts"
        case _ if exits:
            return "svm-event-exit"
        case "smi":
            return "smi-taken"
        case "nmi":
            return "nmi-taken"
        case _:
            return "interrupt-taken"


def execute(vcpu: Vcpu, step: Step) -> Iterator[Way]:
    match step.op:
        case "clgi":
            yield Way(vcpu._replace(gif=False))
        case "stgi":
            yield Way(vcpu._replace(gif=True))
        case "vmrun":
            entered = vcpu._replace(l2=True, gif=True, controls=step.controls)
            yield Way(entered._replace(interrupts=False, l1_interrupts=vcpu.interrupts))
        case "vmmcall":
            yield vm_exit(vcpu, "VMEXIT_VMMCALL")


def arrives_in_wfs(_vcpu: Vcpu, after: Vcpu) -> tuple[Vcpu, ...]:
    """16.5: held pending until the SIPI has been accepted."""
    return (after,)


def intercepted(vcpu: Vcpu, event: Event) -> bool:
    """Does L1 intercept `event`? Nothing intercepts a SIPI."""
    return vcpu.l2 and CONTROL.get(event) in vcpu.controls


def take_init(vcpu: Vcpu, wrong: tuple[str, ...]) -> Iterator[Way]:
    """15.28: it resets the processor, out of the guest too. An AP then waits for SIPI (16.5); a BSP
    runs, or waits, as 15.21.8 and 16.5 do not agree. wrong: the rule that forbids it here."""
    for waits in {not vcpu.bsp, True}:
        for after in reset(vcpu, waits):
            yield Way(after, wrong, leaves=True)
    if vcpu.l2 and not wrong:
        yield vm_exit(vcpu, "VMEXIT_INIT")._replace(breaks=("svm-init-guest",))


def vm_exit(vcpu: Vcpu, reason: str) -> Way:
    """15.6: back to L1, with GIF cleared and the IF that L1 had."""
    after = vcpu._replace(l2=False, activity="active", gif=False, controls=(), boot=None)
    after = after._replace(interrupts=vcpu.l1_interrupts, l1_interrupts=False, start=None)
    return Way(after._replace(exit=NestedExit(reason, 0, "")), leaves=True)
