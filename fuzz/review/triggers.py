"""Triggers: what makes a known difference show, to tell whether it explains another schedule, and
to go around it.

A trigger is a minimised schedule, seen from the vCPU that takes its last step, and where that vCPU
stood before it. A schedule has it at a step if it holds what the minimised one does, in that order,
up to that step, and the vCPU stands there. That is as much as observations allow: more may lie
between.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, NamedTuple

from fuzz.compare.traces import Trace
from fuzz.schedule.schedule import Schedule
from variants.machine.step import IOCTL_OPS, Step, targets

OWN: Final = "own"
MESSAGE: Final = "message"
OTHER: Final = "other"
PLAIN: Final = "nop"
"""The step that only lets KVM take what is pending, as every one of the guest does."""
PLAIN_OPS: Final = (PLAIN, "hlt")
"""Steps that tell nothing of what made a difference."""


class Item(NamedTuple):
    """A step, as one vCPU sees it: its own, a message that reaches it, or another vCPU's."""

    whose: str
    op: str
    mode: str = ""
    controls: tuple[str, ...] = ()


class Standing(NamedTuple):
    """Where a vCPU stands, as far as it showed: in its last step's outcome and modes."""

    outcome: str
    guest_mode: bool
    gif: bool | None
    vmxon: bool | None
    smm: bool


class Trigger(NamedTuple):
    """items: a minimised schedule, as the vCPU sees it that acts last; standing: of that vCPU."""

    items: tuple[Item, ...]
    standing: Standing


START: Final = {
    "svm": Standing("l1", False, True, None, False),
    "vmx": Standing("l1", False, None, False, False),
}


def items_of(schedule: Schedule, on: int) -> list[Item]:
    """The steps of `schedule` as vCPU `on` sees them, one each."""
    return [item_of(step, on, schedule.vcpus) for step in schedule.steps]


def item_of(step: Step, on: int, vcpus: int) -> Item:
    """A step as vCPU `on` sees it, one of `vcpus`. The host's SMI and NMI are messages."""
    if step.op in ("smi", "nmi") and step.on == on:
        return Item(MESSAGE, "icr", step.op)
    if step.op == "icr" and step.on != on:
        reached = on in targets(step, vcpus)
        return Item(MESSAGE, "icr", step.mode) if reached else Item(OTHER, "icr")
    if step.on != on:
        return Item(OTHER, step.op, step.mode, step.controls)
    if step.op == "icr" and on not in targets(step, vcpus):
        return Item(OWN, PLAIN)
    return Item(OWN, step.op, step.mode, step.controls)


def fits(wanted: Item, item: Item) -> bool:
    """Is `item` what a trigger wants, or more of it?"""
    if wanted.whose == OWN and wanted.op == PLAIN:
        return item.whose == OWN and item.op not in IOCTL_OPS
    return wanted[:3] == item[:3] and set(wanted.controls) <= set(item.controls)


def standing_before(schedule: Schedule, trace: Trace, step: int) -> Standing:
    """Where the vCPU that takes `step` stands before it."""
    on = schedule.steps[step].on
    for shown in reversed(trace[:step]):
        if shown.on == on and shown.outcome != "ioctl":
            break
    else:
        return START[schedule.vendor]
    last = next(one for one in reversed(trace[:step]) if one.on == on)
    return Standing(shown.outcome, last.guest_mode, last.gif, last.vmxon, last.smm)


def trigger_of(schedule: Schedule, trace: Trace, step: int) -> Trigger:
    """The trigger that a minimised schedule is, which shows its difference at `step`."""
    on = schedule.steps[step].on
    items = items_of(schedule._replace(steps=schedule.steps[: step + 1]), on)
    return Trigger(tuple(items), standing_before(schedule, trace, step))


def taken_at(trigger: Trigger, schedule: Schedule, trace: Trace, step: int) -> list[int]:
    """The steps with which `schedule` has the trigger at `step`, the last being it; [] if not.

    Of several the latest are given.
    """
    on = schedule.steps[step].on
    *before, last = trigger.items
    if not fits(last, item_of(schedule.steps[step], on, schedule.vcpus)):
        return []
    if trigger.standing != standing_before(schedule, trace, step):
        return []
    found = [step]
    at = step
    for wanted in reversed(before):
        earlier = (
            one
            for one in range(at - 1, -1, -1)
            if fits(wanted, item_of(schedule.steps[one], on, schedule.vcpus))
        )
        at = next(earlier, -1)
        if at < 0:
            return []
        found.append(at)
    return found[::-1]


def around(
    schedule: Schedule,
    trace: Trace,
    triggers: Sequence[Trigger],
    random: Random,
    parted: Sequence[int] = (),
) -> Schedule:
    """`schedule` without the triggers: of each that it has a step is left out.

    trace: of a kernel or a model, as good a guess as there is: without the steps that are left out
    what follows may show something else. parted: the steps at which variants did part. Where no
    trigger says why, the last telling step before is left out.
    """
    steps, shown = list(schedule.steps), list(trace)
    parting = [one in parted for one in range(len(steps))]
    number = 0
    while number < min(len(steps), len(shown)):
        now = schedule._replace(steps=tuple(steps))
        taken = next(taking(triggers, now, tuple(shown), number), [])
        if not taken and parting[number]:
            taken = [*(n for n in range(number) if telling(steps[n])), number][-2:]
            taken = taken[-1:] if telling(steps[number]) else taken[:1]
        if not taken:
            number += 1
            continue
        out = random.choice([one for one in taken if telling(steps[one])] or taken)
        for those in (steps, shown, parting):
            del those[out]
        number -= out < number
    return schedule._replace(steps=tuple(steps))


def taking(
    triggers: Sequence[Trigger], schedule: Schedule, trace: Trace, step: int
) -> Iterator[list[int]]:
    """The steps that each trigger takes which `schedule` has at `step`."""
    for trigger in triggers:
        if taken := taken_at(trigger, schedule, trace, step):
            yield taken


def telling(step: Step) -> bool:
    """Is a step more than a way to enter the guest?"""
    return step.op not in PLAIN_OPS
