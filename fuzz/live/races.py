"""A message at each basic block of a step, on real KVM: which outcomes there are, and where.

What another processor sends may come at any moment of KVM's loop. Between two basic blocks of the
instrumented code that is the same moment, as far as the code can tell.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from fuzz.compare.traces import Trace
from fuzz.judge.monitor import judge
from fuzz.live.landings import Instrumented, Landing, Race, Try, blocks_of, shown
from variants.live.landing import NEVER, at_block
from variants.live.layout import Place
from variants.live.protocol import LANDED, PASSED

TURNS: Final = 3
"""How often a block is taken that a step reaches again and again: a loop that spins goes on so."""
STRIDE: Final = 16
"""Of blocks off the event path one in so many is taken at first."""


class Interval(NamedTuple):
    """Blocks, tried from `first` to `last`, at which a message has the same outcome.

    landings: how many of them were taken. like: `before`, `after`, both or neither: what it has
    that comes before the step, or after it. rules: those of the manuals that it breaks, with their
    steps, and neither of these does. sure: the first and the last showed it twice.
    """

    first: Try
    last: Try
    landings: int
    trace: Trace
    like: tuple[str, ...]
    rules: tuple[tuple[int, str], ...]
    sure: bool


class Told(NamedTuple):
    """A race on one build. blocks: how many its step has. missed: how many landings were not at
    their block, for it was not reached that time."""

    blocks: int
    before: Trace
    after: Trace
    intervals: tuple[Interval, ...]
    missed: int


def on_build(races: Sequence[Race], build: Instrumented) -> list[Told]:
    """The races on one build: before and after, then at blocks, then the ends of intervals again.

    Each block of the event path is taken; of the others every `STRIDE`-th, and all between two that
    had other outcomes.
    """
    run, events = build
    edge = [Try(race, at) for race in races for at in (None, at_block(NEVER))]
    ended = iter(run(edge, LANDED | PASSED))
    edges, every = [], []
    for race in races:
        early, late = next(ended), next(ended)
        edges.append((shown(race, early).trace, shown(race, late).trace))
        every.append(blocks_of(race, late))
    tries = [list(chosen(race, some)) for race, some in zip(races, every, strict=True)]
    landings: list[dict[int, Landing]] = [{} for _ in races]
    for further in (partial(sparse, events=events), between):
        todo = [further(tries[number], landings[number]) for number in range(len(races))]
        ended = iter(run([tries[n][at] for n, some in enumerate(todo) for at in some], LANDED))
        for number, some in enumerate(todo):
            for at in some:
                one = tries[number][at]
                landings[number][at] = Landing(one, shown(one.race, next(ended)))
    groups = [grouped([found[at] for at in sorted(found)]) for found in landings]
    ends = [[end for group in some for end in (group[0], group[-1])] for some in groups]
    ended = iter(run([one.tried for some in ends for one in some], LANDED))
    again = [
        [shown(one.tried.race, next(ended)).trace == one.shown.trace for one in some]
        for some in ends
    ]
    told = []
    for number, race in enumerate(races):
        sure = iter(again[number])
        intervals = [
            interval(race, edges[number], group, all([next(sure), next(sure)]))
            for group in groups[number]
        ]
        missed = sum(one.shown.landed.place != one.tried.place for one in landings[number].values())
        told.append(Told(len(every[number]), *edges[number], tuple(intervals), missed))
    return told


def sparse(tries: Sequence[Try], _: Mapping[int, Landing], events: Collection[Place]) -> list[int]:
    """The tries to begin with, by number."""
    last = len(tries) - 1
    return [
        number
        for number, one in enumerate(tries)
        if number % STRIDE == 0 or number == last or one.place in events
    ]


def between(tries: Sequence[Try], landings: Mapping[int, Landing]) -> list[int]:
    """The tries between two others that had other outcomes, by number."""
    return [
        number
        for one, other in pairwise(sorted(landings))
        if landings[one].shown.trace != landings[other].shown.trace
        for number in range(one + 1, other)
    ]


def grouped(landings: Sequence[Landing]) -> list[list[Landing]]:
    """Those one after another that had the same outcome."""
    return [list(group) for _, group in groupby(landings, lambda one: one.shown.trace)]


def chosen(race: Race, blocks: Sequence[Place]) -> Iterator[Try]:
    """A try for each block of a step, the first times that it is reached."""
    times: Counter[Place] = Counter()
    for number, one in enumerate(blocks):
        if times[one] < TURNS:
            yield Try(race, at_block(times[one], [one]), number, one)
        times[one] += 1


def interval(
    race: Race, edges: tuple[Trace, Trace], group: Sequence[Landing], sure: bool
) -> Interval:
    """Landings one after another that had the same outcome."""
    outcome = group[0].shown.trace
    words = zip(("before", "after"), edges, strict=True)
    like = tuple(word for word, edge in words if edge == outcome)
    known = {ruling for edge in edges for ruling in rulings(race, edge)}
    rules = () if like else tuple(sorted(rulings(race, outcome) - known))
    return Interval(group[0].tried, group[-1].tried, len(group), outcome, like, rules, sure)


def rulings(race: Race, outcome: Trace) -> set[tuple[int, str]]:
    """The rules of the manuals that a trace breaks whenever the message came, with their steps."""
    found = judge(race.schedule, outcome)
    return {(number, ruling.rule) for number, ruling in found if not ruling.open}
