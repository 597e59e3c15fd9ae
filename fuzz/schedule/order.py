"""The one order of simplicity: which of two steps, schedules or reproducers is the simpler."""

from typing import Final

from fuzz.schedule.schedule import Schedule, races
from variants.machine.points import POINTS
from variants.machine.step import ICR_MODES, MP_STATES, OPS, Step

POINT_ORDER: Final = ("", *POINTS)
"""What `at` can be: nothing first. Codes hold the place in it."""
SIMPLE_OPS: Final = ("nop", "hlt")
"""What a step is replaced with if that will do."""
VCPU_ORDER: Final = (1, 0, 2, 3)
"""vCPU 1, an AP, acts in the simplest schedules; vCPU 0 is the BSP and sends."""


def weight(step: Step) -> tuple[int, ...]:
    """The order of steps: plain before special, as the reader of a reproducer would have it."""
    is_icr = step.op == "icr"
    mode = ICR_MODES.index(step.mode) if is_icr else len(step.mode)
    if step.op == "set-mp-state":
        mode = MP_STATES.index(step.mode)
    to = (VCPU_ORDER.index(step.to) if step.to >= 0 else 4 - step.to) if is_icr else 0
    on = step.on if is_icr else VCPU_ORDER.index(step.on)
    simple = step.op in SIMPLE_OPS
    op = SIMPLE_OPS.index(step.op) if simple else len(SIMPLE_OPS) + OPS.index(step.op)
    return (POINT_ORDER.index(step.at), op, len(step.controls), mode, to, on, step.vector)


def rank(schedule: Schedule) -> tuple[bool, int]:
    """How good a reproducer is, as far as it matters to find one: smaller is better.

    One that real KVM can run is better than a shorter one with `at` steps.
    """
    return races(schedule), len(schedule.steps)


def size(schedule: Schedule) -> tuple[tuple[bool, int], int, list[tuple[int, ...]]]:
    """What makes one reproducer better than another of the same rank too: smaller is better."""
    return rank(schedule), schedule.vcpus, [weight(step) for step in schedule.steps]
