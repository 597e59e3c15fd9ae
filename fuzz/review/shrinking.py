"""Minimising on real KVM, in rounds.

A round tries candidates for all differences that are to be minimised at once, in one batch, for
handing over a batch takes as long as tens of short schedules. Each takes the smallest that still
shows the mark. The boldest are tried first, and others only if none of them does.

A long schedule loses all but its end, all but a few kinds of steps, or one of a few pieces. Of a
short one small parts are tried, and those that lack few steps: that is enough to tell differences
apart (`rough`). For the reader all that is smaller
and near is tried, as `fuzz.shrink.minimize` does on models, until nothing is left to try (`fine`):
then a schedule is 1-minimal, as far as real KVM does the same each time.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import Final, NamedTuple

from fuzz.compare.traces import Traces
from fuzz.review.marks import Mark, marks
from fuzz.review.triggers import PLAIN
from fuzz.schedule.order import size, weight
from fuzz.schedule.schedule import Schedule, ScheduleError, check, races
from fuzz.shrink.minimize import on_one_vcpu, smaller
from variants.machine.step import IOCTL_OPS, MIN_VCPUS, Step

SHORT: Final = 7
"""Steps of which many parts can be tried at once."""
ENDINGS: Final = (2, 3, 4, 6, 8, 12)
"""How many steps of a long schedule's end are tried."""
PIECES: Final = (2, 4, 8)
"""Into how many pieces a long schedule is cut, to leave out each."""
FEW: Final = 2
"""Parts of a short schedule with fewer steps before the last are tried first."""

Run = Callable[[Sequence[Schedule]], Sequence[Traces]]
Candidates = Callable[[Schedule, Container[Schedule]], Iterator[Iterable[Schedule]]]
"""Of the best so far, and those that were tried; what is tried first comes first."""


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
            untried(target, [also, *candidates(target.schedule, known)], known)
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


def untried(
    target: Target, candidates: Iterable[Iterable[Schedule]], tried: set[Schedule]
) -> list[Schedule]:
    """The candidates of the next round, the first that are not in `tried`, which they then are."""
    for some in candidates:
        found = [
            one
            for one in dict.fromkeys(some)
            if one not in tried and size(one) < size(target.schedule) and valid(one)
        ]
        if found:
            tried.update(found)
            return found
    return []


def valid(schedule: Schedule) -> bool:
    """Can real KVM run it?"""
    try:
        check(schedule)
    except ScheduleError:
        return False
    return bool(schedule.steps) and not races(schedule)


def rough(schedule: Schedule, tried: Container[Schedule]) -> Iterator[Iterable[Schedule]]:
    """Parts of a schedule that may show the same.

    What the vCPU that acts last does and is sent mostly is enough, so first that is tried alone.
    """
    alone = on_one_vcpu(schedule)
    one = schedule if alone in tried else alone
    if len(one.steps) > SHORT:
        yield [one, *endings(one), *of_kinds(one, 0), *of_kinds(one, 1), *without_some(one)]
        yield of_kinds(one, 2)
        yield without_one(one)
    else:
        before = len(one.steps) - 1
        yield [one, *parts(one, range(min(FEW, before + 1)))]
        yield parts(one, range(max(FEW, before - 1), before + 1))


def fine(schedule: Schedule, tried: Container[Schedule]) -> Iterator[Iterable[Schedule]]:
    """The parts, and then everything that is smaller and near."""
    yield from rough(schedule, tried)
    yield smaller(schedule)


def endings(schedule: Schedule) -> Iterator[Schedule]:
    """The last steps alone."""
    for length in ENDINGS:
        if length < len(schedule.steps):
            yield schedule._replace(steps=schedule.steps[-length:])


def of_kinds(schedule: Schedule, count: int) -> Iterator[Schedule]:
    """The latest step of each of so many kinds, in their order, and the last."""
    *before, last = schedule.steps
    for some in combinations(kinds(before).values(), count):
        yield schedule._replace(steps=(*(before[number] for number in sorted(some)), last))


def kinds(steps: Sequence[Step]) -> dict[tuple[str, str], int]:
    """The kinds of steps there are, and where each is met last."""
    return {(step.op, step.mode): number for number, step in enumerate(steps)}


def without_some(schedule: Schedule) -> Iterator[Schedule]:
    """`schedule` without the steps of one kind, or without one of its pieces; the last is kept."""
    *before, last = schedule.steps
    for kind in kinds(before):
        steps = [step for step in before if (step.op, step.mode) != kind]
        yield schedule._replace(steps=(*steps, last))
    for pieces in PIECES:
        cuts = [len(before) * number // pieces for number in range(pieces + 1)]
        for start, end in pairwise(cuts):
            yield schedule._replace(steps=(*before[:start], *before[end:], last))


def without_one(schedule: Schedule) -> Iterator[Schedule]:
    """`schedule` without one of its steps."""
    for left in combinations(schedule.steps, len(schedule.steps) - 1):
        yield schedule._replace(steps=left)


def parts(schedule: Schedule, counts: Iterable[int]) -> Iterator[Schedule]:
    """The parts with so many steps before the last, or before a plain one in its place, and with as
    few vCPUs as may be."""
    *before, last = schedule.steps
    endings = [last] if last.op in IOCTL_OPS else [Step(PLAIN, last.on), last]
    for count in counts:
        for some in combinations(before, count):
            for ending in endings:
                part = schedule._replace(steps=(*some, ending))
                fewer = part._replace(vcpus=MIN_VCPUS)
                yield fewer if valid(fewer) else part
