"""A schedule's steps in words: who acts, and what that means."""

from typing import Final

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
    where = next(words for point, words in POINTS.items() if point == step.at)
    return f"lands in the target's next step, at {step.at} ({where})"
