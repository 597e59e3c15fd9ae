"""Minimising on real KVM: many candidates a boot.

A boot costs as much as hundreds of schedules, so each round tries all that is worth trying at once,
for all differences that are to be minimised, and takes the smallest that still shows the mark. A
long schedule loses whole kinds of steps and all but its end in the first round; of a short one all
parts are tried in one: that is enough to tell differences apart (`rough`). For the reader all that
is smaller is tried, as `fuzz.shrink.minimize` does on models, until nothing is left to try
(`fine`): then a schedule is 1-minimal, as far as real KVM does the same each time.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from fuzz.compare.traces import Traces
from fuzz.review.marks import Mark, marks
from fuzz.review.triggers import PLAIN
from fuzz.schedule.order import size, weight
from fuzz.schedule.schedule import Schedule, ScheduleError, check, races
from fuzz.shrink.minimize import on_one_vcpu, smaller
from variants.machine.step import IOCTL_OPS, MIN_VCPUS, Step

SHORT: Final = 7
"""Steps of which all parts can be tried at once."""
ENDINGS: Final = (2, 3, 4, 6, 8, 12)
"""How many steps of a long schedule's end are tried."""
KINDS: Final = 3
"""Of how many kinds of steps, at most, all combinations are tried."""

Run = Callable[[Sequence[Schedule]], Sequence[Traces]]
Candidates = Callable[[Schedule, Container[Schedule]], Iterator[Schedule]]
"""Of the best so far, and those that were tried."""


class Target(NamedTuple):
    """A schedule that shows a mark, at its last step."""

    schedule: Schedule
    mark: Mark


def minimised(
    targets: Sequence[Target], run: Run, candidates: Candidates, going_on: Callable[[], bool]
) -> list[tuple[Target, bool]]:
    """The targets made small, and whether no candidate is left for each; in order.

    run: live, all of one vendor. going_on: asked before each round.
    """
    best = list(targets)
    tried: list[set[Schedule]] = [{target.schedule} for target in best]
    joint: list[list[Schedule]] = [[] for _ in best]
    while True:
        rounds = [
            untried(target, [*also, *candidates(target.schedule, known)], known)
            for target, also, known in zip(best, joint, tried, strict=True)
        ]
        if not any(rounds) or not going_on():
            return [(target, not some) for target, some in zip(best, rounds, strict=True)]
        every = list(dict.fromkeys(one for some in rounds for one in some))
        shown = dict(zip(every, run(every), strict=True))
        for number, some in enumerate(rounds):
            tried[number].difference_update(one for one in some if not shown[one])
            mark = best[number].mark
            cuts = [cut for one in some if (cut := up_to(one, shown[one], mark))]
            joint[number] = [joined(best[number].schedule, cuts)]
            smallest = min([best[number].schedule, *cuts], key=size)
            best[number] = Target(smallest, mark)


def up_to(schedule: Schedule, traces: Traces, mark: Mark) -> Schedule | None:
    """`schedule` up to the step at which it shows `mark`; None if it does not."""
    for step, found in marks(schedule, traces):
        if found == mark:
            return schedule._replace(steps=schedule.steps[: step + 1])
    return None


def joined(schedule: Schedule, smaller_ones: Sequence[Schedule]) -> Schedule:
    """All at once what one schedule each showed to be possible: another step in a step's place."""
    steps = list(schedule.steps)
    for one in smaller_ones:
        if len(one.steps) == len(schedule.steps):
            places = [n for n, step in enumerate(one.steps) if step != schedule.steps[n]]
            if len(places) == 1:
                (place,) = places
                steps[place] = min(steps[place], one.steps[place], key=weight)
    return schedule._replace(steps=tuple(steps))


def untried(target: Target, candidates: Sequence[Schedule], tried: set[Schedule]) -> list[Schedule]:
    """The candidates of the next round, which are added to `tried`."""
    found = [
        one
        for one in dict.fromkeys(candidates)
        if one not in tried and size(one) < size(target.schedule) and valid(one)
    ]
    tried.update(found)
    return found


def valid(schedule: Schedule) -> bool:
    """Can real KVM run it?"""
    try:
        check(schedule)
    except ScheduleError:
        return False
    return bool(schedule.steps) and not races(schedule)


def rough(schedule: Schedule, tried: Container[Schedule]) -> Iterator[Schedule]:
    """Parts of a schedule that may show the same, the boldest first.

    What the vCPU that acts last does and is sent mostly is enough, so first that is tried alone.
    """
    alone = on_one_vcpu(schedule)
    one = schedule if alone in tried else alone
    if len(one.steps) > SHORT:
        yield one
        yield from endings(one)
        yield from of_few_kinds(one)
        yield from without_one(one)
    else:
        yield from parts(one)


def fine(schedule: Schedule, tried: Container[Schedule]) -> Iterator[Schedule]:
    """The parts, and then everything that is smaller and near."""
    yield from rough(schedule, tried)
    yield from smaller(schedule)


def endings(schedule: Schedule) -> Iterator[Schedule]:
    """The last steps alone."""
    for length in ENDINGS:
        if length < len(schedule.steps):
            yield schedule._replace(steps=schedule.steps[-length:])


def of_few_kinds(schedule: Schedule) -> Iterator[Schedule]:
    """The latest steps of a few kinds, with the last; and all steps but those of one kind."""
    *before, last = schedule.steps
    kinds = {(step.op, step.mode): number for number, step in enumerate(before)}
    for count in range(KINDS + 1):
        for some in combinations(kinds.values(), count):
            yield schedule._replace(steps=(*(before[number] for number in sorted(some)), last))
    for kind in kinds:
        steps = [step for step in before if (step.op, step.mode) != kind]
        yield schedule._replace(steps=(*steps, last))


def without_one(schedule: Schedule) -> Iterator[Schedule]:
    """`schedule` without one of its steps."""
    for left in combinations(schedule.steps, len(schedule.steps) - 1):
        yield schedule._replace(steps=left)


def parts(schedule: Schedule) -> Iterator[Schedule]:
    """All parts of a short schedule that end in its last step, or in a plain one in its place, with
    as few vCPUs as may be."""
    *before, last = schedule.steps
    endings = [last] if last.op in IOCTL_OPS else [Step(PLAIN, last.on), last]
    for count in range(len(before) + 1):
        for some in combinations(before, count):
            for ending in endings:
                part = schedule._replace(steps=(*some, ending))
                fewer = part._replace(vcpus=MIN_VCPUS)
                yield fewer if valid(fewer) else part
