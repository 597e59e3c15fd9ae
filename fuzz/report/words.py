"""A schedule's steps in words: who acts, what that means, and what comes of it."""

from typing import Final

from fuzz.report.inside import Inside
from fuzz.schedule.schedule import block_of
from variants.machine.observation import Observation
from variants.machine.points import POINTS
from variants.machine.step import TO_ALL, TO_OTHERS, TO_SELF, Step

INSTRUCTIONS: Final = {
    "nop": "runs on (NOP)",
    "hlt": "executes HLT",
    "sti": "executes STI",
    "cli": "executes CLI",
    "rsm": "leaves SMM (RSM)",
    "vmxon": "enters VMX operation (VMXON)",
    "vmxoff": "leaves VMX operation (VMXOFF)",
    "vmcall": "calls L1 from L2 (VMCALL)",
    "vmmcall": "calls L1 from L2 (VMMCALL)",
    "clgi": "clears GIF (CLGI)",
    "stgi": "sets GIF (STGI)",
}
"""What a vCPU does that executes an instruction without arguments."""
IOCTLS: Final = {
    "smi": "host injects an SMI into {vcpu} (KVM_SMI)",
    "nmi": "host injects an NMI into {vcpu} (KVM_NMI)",
    "get-mp-state": "host reads the mp_state of {vcpu} (KVM_GET_MP_STATE)",
    "set-mp-state": "host sets the mp_state of {vcpu} to {mode} (KVM_SET_MP_STATE)",
    "get-vcpu-events": "host reads the events of {vcpu} (KVM_GET_VCPU_EVENTS)",
    "save-restore": "host saves {vcpu} and restores it, as migration does",
}
MESSAGES: Final = {
    "init": "INIT",
    "init-deassert": "INIT level de-assert",
    "sipi": "SIPI {vector:#04x}",
    "nmi": "NMI",
    "smi": "SMI",
    "fixed": "interrupt {vector:#04x}",
}
"""What an ICR write sends, by its delivery mode."""
TARGETS: Final = {TO_SELF: "itself", TO_ALL: "all vCPUs", TO_OTHERS: "all other vCPUs"}
EVENTS: Final = {"init": "INIT", "nmi": "NMI", "intr": "interrupts", "smi": "SMI"}
"""What L1 can have exit, in words."""
ENTERED: Final = {"hlt": " halted", "wait-for-sipi": " in wait-for-SIPI"}
"""How L2 is entered, by activity state."""


def vcpu(number: int) -> str:
    return f"vCPU {number}"


def told(step: Step) -> str:
    """`step` in words, without a full stop. What is asked for: the guest may not get to it."""
    who = vcpu(step.on)
    if step.op in IOCTLS:
        return IOCTLS[step.op].format(vcpu=who, mode=step.mode)
    match step.op:
        case "icr":
            return f"{who} sends {message(step)} to {TARGETS.get(step.to) or vcpu(step.to)}"
        case "rdmsr":
            return f"{who} reads {step.mode.upper().replace('-', '_')} (RDMSR)"
        case "vmrun":
            listed = ", ".join(EVENTS[one] for one in step.controls)
            return f"{who} enters L2 (VMRUN)" + (f"; L1 intercepts {listed}" if listed else "")
        case "vmlaunch":
            listed = " and ".join(EVENTS[one] for one in step.controls)
            exiting = f"; {listed} exit to L1" if listed else ""
            return f"{who} enters L2{ENTERED.get(step.mode, '')} (VMLAUNCH){exiting}"
    return f"{who} {INSTRUCTIONS[step.op]}"


def message(step: Step) -> str:
    """What an `icr` step sends."""
    return MESSAGES[step.mode].format(vector=step.vector)


def lands(step: Step) -> str:
    """Where the write of a step with `at` lands."""
    if (block := block_of(step.at)) is not None:
        return f"lands in the target's next step, at its block {block}"
    where = next(words for point, words in POINTS.items() if point == step.at)
    return f"lands in the target's next step, at {step.at} ({where})"


STANDS: Final = {
    "l1": "runs on in L1",
    "l2": "runs on in L2",
    "smm": "runs on in SMM",
    "busy": "KVM spins, the guest does not run",
    "bsp-reset": "is reset and starts anew",
    "shutdown": "shuts down",
    "error": "KVM cannot run it on",
}
"""Where a vCPU is after a step, by outcome."""
TAKEN_BY: Final = {
    "INIT": ("INIT", "bsp-reset"),
    "SIPI": ("SIPI", "sipi"),
    "NMI": ("NMI", "nmi"),
    "SMI": ("SMI", "smm"),
    "interrupt": ("INTR", "EXTERNAL_INTERRUPT", "fixed"),
}
"""Words of an observation that show that an event was taken."""


def outcome(step: Step, shown: Observation, before: Inside, after: Inside) -> tuple[str, ...]:
    """What the vCPU that acted in `step` showed, and what became of what was pending; a clause
    each, most telling first."""
    clauses = []
    if shown.warn:
        clauses.append(f"kernel WARN in {shown.warn}")
    if shown.nested_exit:
        reason, qualification, activity = shown.nested_exit
        clauses.append(f"exits to L1: {reason}" + (f" {qualification:#x}" if qualification else ""))
        if activity not in ("", "active"):
            clauses.append(f"saved activity: {activity}")
    if shown.woke:
        clauses.append("HLT ends with no event")
    clauses += became(shown, before, after)
    if not shown.nested_exit or shown.outcome not in ("l1", "l2"):
        clauses += stands(step, shown, after)
    if not shown.executed and step.op not in ("nop", *IOCTLS) and shown.outcome != "error":
        clauses.append(f"{step.op.upper()} is not executed")
    for one in shown.taken:
        what, _, value = one.partition(":")
        clauses.append(
            {"nmi": "takes NMI", "rdmsr": f"reads {value}"}.get(what, f"takes interrupt {value}")
        )
    if shown.mp_state:
        clauses.append(f"mp_state: {shown.mp_state}")
    if shown.latched_init is not None:
        clauses.append("an INIT is latched" if shown.latched_init else "no INIT is latched")
    return (*clauses, *left(after))


def stands(step: Step, shown: Observation, after: Inside) -> list[str]:
    """Where the vCPU is after the step; nothing where the host only asked or told it something."""
    match shown.outcome:
        case "ioctl":
            return []
        case "sipi":
            return [f"starts at vector {shown.vector or 0:#04x}"]
        case "blocked" if after.waits == "WFS":
            return ["waits for a SIPI" + (" in L2" if shown.guest_mode else "")]
        case "blocked" if step.op == "hlt" and shown.executed:
            return ["halts: KVM_RUN waits"]
        case "blocked":
            return ["stays halted"]
    return [STANDS[shown.outcome]]


def became(shown: Observation, before: Inside, after: Inside) -> list[str]:
    """What became of the events that were pending, where that does not show."""
    said = " ".join(filter(None, [shown.outcome, str(shown.nested_exit or ""), *shown.taken]))
    waits = after.waits == "WFS" and before[:2] != after[:2]
    clauses = []
    for event in before.pending:
        if event in after.pending or any(word in said for word in TAKEN_BY[event]):
            continue
        if event == "INIT" and (waits or after.begun or shown.outcome == "sipi"):
            clauses.append("INIT resets it")
        elif event == "SIPI" and after.begun:
            clauses.append("SIPI starts it")
        else:
            clauses.append(f"{event} is dropped")
    return clauses


def left(after: Inside) -> list[str]:
    """What is pending."""
    return [f"{', '.join(after.pending)} pending"] if after.pending else []
