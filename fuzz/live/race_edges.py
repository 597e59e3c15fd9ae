"""What a race shows with its message before the step, and after it: that is no race's."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from fuzz.compare.traces import Trace
from fuzz.judge.monitor import judge
from fuzz.live.landings import Race, Try, shown
from variants.live.landing import NEVER, at_block
from variants.live.observe import why_broken
from variants.live.protocol import Ended
from variants.machine.step import Step

FURTHER: Final = ("nop", "nop")
"""What the target does then, for what comes after the last step to show."""
NO_WARN: Final = "no-warn"
"""KVM's own rule."""
NO_HANG: Final = "no-hang"
"""A vCPU that goes on if the message comes before the step, and if it comes after it, goes on."""
HANGS: Final = ("blocked", "busy")


class Edges(NamedTuple):
    """rules: those that are broken if the message comes before the step or after it, in any step;
    by `kind`."""

    before: Trace
    after: Trace
    rules: frozenset[str]


def edge_tries(race: Race) -> list[Try]:
    """The race's message before the step and after it."""
    return [Try(lasting(race), at) for at in (None, at_block(NEVER))]


def edges(race: Race, ended: Iterator[Ended]) -> Edges:
    """Of the next two runs, which are of `edge_tries`."""
    longer = lasting(race)
    early, late = (shown(longer, next(ended)).trace for _ in range(2))
    steps = len(race.schedule.steps)
    rules = {kind(one, trace) for trace in (early, late) for one in rulings(longer, trace)}
    return Edges(early[:steps], late[:steps], frozenset(rules))


def lasting(race: Race) -> Race:
    """With further steps of the target, which takes there what came late."""
    on = race.schedule.steps[race.step].on
    steps = (*race.schedule.steps, *(Step(op, on) for op in FURTHER))
    return race._replace(schedule=race.schedule._replace(steps=steps))


def kind(ruling: tuple[int, str], trace: Trace) -> str:
    """Rulings of one kind tell of one fault: which event ended a HLT is not always to be seen."""
    step, rule = ruling
    ended = rule.startswith("hlt-") or (rule == "sipi-kept" and trace[step].woke)
    return "hlt" if ended else rule


def rulings(race: Race, outcome: Trace) -> set[tuple[int, str]]:
    """The rules that a trace breaks whenever the message came, with their steps: the manuals', and
    KVM's own, that no WARN fires."""
    found = judge(race.schedule, outcome)
    broken = {(number, ruling.rule) for number, ruling in found if not ruling.open}
    warned = (number for number, one in enumerate(outcome) if one.warn and not why_broken(one.warn))
    return broken | {(number, NO_WARN) for number in warned}


def hangs(both: Edges, outcome: Trace) -> list[tuple[int, str]]:
    """NO_HANG, with the last step, if an outcome breaks it."""
    last = len(outcome) - 1
    ends = [one[last].outcome in HANGS for one in (both.before, both.after) if last < len(one)]
    hung = last >= 0 and outcome[last].outcome in HANGS and ends == [False, False]
    return [(last, NO_HANG)] if hung else []
