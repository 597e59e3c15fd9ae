"""The search beyond the covering set: mutations of what showed something new live.

New is a context: where a vCPU stood, as far as that showed, what happened to it, and what became of
it. Real KVM tells no more, so that is what guides the search, on kernels without a model too.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, NamedTuple

from fuzz.compare.traces import Trace
from fuzz.explore.search import Event
from fuzz.live.novelty import events_of
from fuzz.live.pairs import MOST_STEPS
from fuzz.review.triggers import Item, Standing, item_of, standing_before
from fuzz.schedule.schedule import Schedule
from variants.machine.step import Step

CUT: Final = 0.5
"""How often a mutation is one schedule's beginning and another one's end."""
MOST_CHANGES: Final = 3


class Context(NamedTuple):
    """before: of the vCPU that took the step. sent: what had reached it since its last step."""

    before: Standing
    sent: frozenset[str]
    item: Item
    outcome: str
    exit: str


def contexts(schedule: Schedule, trace: Trace) -> Iterator[Context]:
    """What `schedule` showed on one kernel."""
    sent: dict[int, set[str]] = {}
    for step, (taken, shown) in enumerate(zip(schedule.steps, trace, strict=False)):
        on = taken.on
        if taken.op == "icr":
            for other in range(schedule.vcpus):
                if other != on and (item := item_of(taken, other, schedule.vcpus)).mode:
                    sent.setdefault(other, set()).add(item.mode)
        leaving = shown.nested_exit.reason if shown.nested_exit else ""
        yield Context(
            standing_before(schedule, trace, step),
            frozenset(sent.pop(on, ())),
            item_of(taken, on, schedule.vcpus),
            shown.outcome,
            leaving,
        )


def mutations(pool: Sequence[Schedule], count: int, random: Random) -> list[Schedule]:
    """`count` schedules made of those in `pool`, all of one vendor and without races."""
    events = events_of(pool[0].vendor)
    return [mutation(pool, events, random) for _ in range(count)]


def mutation(pool: Sequence[Schedule], events: Sequence[Event], random: Random) -> Schedule:
    """The newest of `pool` are chosen more often."""
    first = pool[-1 - int(len(pool) * random.random() ** 2)]
    steps = list(first.steps)
    vcpus = first.vcpus
    if random.random() < CUT:
        other = random.choice(pool)
        vcpus = max(vcpus, other.vcpus)
        steps = steps[: random.randint(0, len(steps))]
        steps += other.steps[random.randint(0, len(other.steps)) :]
    for _ in range(random.randint(1, MOST_CHANGES)):
        place = random.randint(0, len(steps))
        if random.random() < 1 / 3 and steps:
            del steps[min(place, len(steps) - 1)]
        else:
            steps.insert(place, step_of(random.choice(events), vcpus, random))
    return Schedule(first.vendor, vcpus, tuple(steps[:MOST_STEPS]), f"mutation of {first.name}")


def step_of(event: Event, vcpus: int, random: Random) -> Step:
    """A step that makes `event` happen to one of `vcpus` vCPUs."""
    on = random.randrange(vcpus)
    if event.step:
        return event.step._replace(on=on)
    assert event.message
    sender = random.choice([one for one in range(vcpus) if one != on])
    return Step("icr", sender, on, *event.message)
