"""What a review finds: differences, the ways to them, and what they explain."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fuzz.compare.traces import Trace, Traces
from fuzz.review.marks import Mark
from fuzz.review.shrinking import Target
from fuzz.review.triggers import (
    PLAIN,
    PLAIN_OPS,
    Item,
    Standing,
    Trigger,
    fits,
    item_of,
    standing_before,
    taken_at,
)
from fuzz.schedule.order import size
from fuzz.schedule.schedule import Schedule
from variants.machine.step import IOCTL_OPS

ENOUGH: Final = 5
"""Ways to one difference, after which its looks are enough."""
MOST_TOLD: Final = 4
"""Ways to one difference that are made 1-minimal, run in fresh VMs and written out."""


@dataclass
class Way:
    """A smallest schedule that shows a difference, at its last step.

    trigger: what explains other schedules by it; met: other triggers, of schedules that were
    minimised to it and do not have that. explains: how many schedules it does. minimal: known to be
    1-minimal. traces: of the schedule, in a fresh VM if it was run in one; repeats: how often it
    showed in such, of how many.
    """

    schedule: Schedule
    trigger: Trigger
    traces: Traces
    minimal: bool = False
    met: list[Trigger] = field(default_factory=list)
    explains: int = 0
    repeats: tuple[int, int] = (0, 0)

    @property
    def last(self) -> Item:
        return self.trigger.items[-1]

    def explained(self, shown: "Unexplained") -> bool:
        """Is it the reason? A telling step that does so wherever a vCPU stands alike is enough."""
        if any(
            taken_at(one, shown.schedule, shown.trace, shown.step)
            for one in (self.trigger, *self.met)
        ):
            return True
        alike = self.trigger.standing == shown.standing
        return alike and self.last.op not in PLAIN_OPS and fits(self.last, shown.item)


@dataclass
class Found:
    """A difference, as far as it can be told from others: how it looks and in which step
    (`shown_in`), and the ways to it that are known.

    by_looks: schedules that have only its looks; they are not minimised any more when `ENOUGH` ways
    are known. hunks: the smallest set of a patch's without which it is gone; between: the kernels
    between which it changed. A line each, none if that is not known.
    """

    mark: Mark
    op: str
    ways: list[Way] = field(default_factory=list)
    by_looks: int = 0
    hunks: tuple[str, ...] = ()
    between: str = ""

    @property
    def explains(self) -> int:
        return self.by_looks + sum(way.explains for way in self.ways)

    @property
    def told(self) -> list[Way]:
        """The shortest ways, in order."""
        return sorted(self.ways, key=lambda way: size(way.schedule))[:MOST_TOLD]

    @property
    def shortest(self) -> Way:
        return self.told[0]

    @property
    def gone(self) -> bool:
        """Was it run in fresh VMs, and did not show?"""
        showed, times = self.shortest.repeats
        return times > 0 and not showed

    def takes(self, shown: "Unexplained") -> bool:
        """Does it explain what a schedule shows? Then that is counted."""
        if self.mark != shown.mark:
            return False
        for way in self.ways:
            if way.explained(shown):
                way.explains += 1
                return True
        if len(self.ways) >= ENOUGH and self.op in (PLAIN, shown.item.op):
            self.by_looks += 1
            return True
        return False


class Unexplained(NamedTuple):
    """A schedule that shows a mark at a step, and no finding says why. trace: up to there."""

    schedule: Schedule
    step: int
    mark: Mark
    trace: Trace

    @property
    def item(self) -> Item:
        return item_of(self.schedule.steps[self.step], self.schedule.steps[self.step].on, 1)

    @property
    def standing(self) -> Standing:
        return standing_before(self.schedule, self.trace, self.step)

    @property
    def target(self) -> Target:
        steps = self.schedule.steps[: self.step + 1]
        return Target(self.schedule._replace(steps=steps), self.mark)


def merged(found: Iterable[Found]) -> list[Found]:
    """What minimising made the same put together: ways, and differences that show in one step."""
    made: dict[tuple[Mark, str], Found] = {}
    for one in found:
        for way in one.ways:
            op = shown_in(way.schedule)
            there = made.setdefault((one.mark, op), Found(one.mark, op))
            known = next((w for w in there.ways if w.schedule == way.schedule), None)
            if known:
                known.explains += way.explains
            else:
                there.ways.append(way)
        made[one.mark, shown_in(one.ways[0].schedule)].by_looks += one.by_looks
    return list(made.values())


def shown_in(schedule: Schedule) -> str:
    """In which step a difference shows: an ioctl, or any step of the guest's, `nop` then."""
    op = schedule.steps[-1].op
    return op if op in IOCTL_OPS else PLAIN
