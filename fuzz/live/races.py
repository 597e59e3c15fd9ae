"""A message at each basic block of a step, on real KVM: which outcomes there are, and where.

What another processor sends may come at any moment of KVM's loop. Between two basic blocks of the
instrumented code that is the same moment, as far as the code can tell.
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

from fuzz.compare.traces import Trace
from fuzz.live.landings import Instrumented, Landing, Race, Try, blocks_of, shown
from fuzz.live.race_blocks import Further, between, chosen, few, sparse
from fuzz.live.race_edges import Edges, edge_tries, edges, hangs, kind, rulings
from variants.live.layout import Place
from variants.live.protocol import LANDED, PASSED


class Interval(NamedTuple):
    """Blocks, tried from `first` to `last`, at which a message has the same outcome.

    places: of those that were taken. like: `before`, `after`, both or neither: what it has that
    comes before the step, or after it. rules: those of the manuals that it breaks, with their
    steps, and neither of these does, in no step. sure: the first and the last showed it twice.
    """

    first: Try
    last: Try
    places: tuple[Place, ...]
    trace: Trace
    like: tuple[str, ...]
    rules: tuple[tuple[int, str], ...]
    sure: bool

    @property
    def landings(self) -> int:
        return len(self.places)


class Told(NamedTuple):
    """A race on one build. blocks: how many its step has. missed: how many landings were not at
    their block, for it was not reached that time."""

    blocks: int
    before: Trace
    after: Trace
    intervals: tuple[Interval, ...]
    missed: int


class Landings(NamedTuple):
    """Of a race on a build: how many blocks its step has, and what was shown."""

    blocks: int
    edges: Edges
    taken: list[Landing]


def on_build(races: Sequence[Race], build: Instrumented) -> list[Told]:
    """The races on one build: before and after, then at blocks, then the ends of intervals again.

    Each block of the event path is taken; of the others every `STRIDE`-th, and all between two that
    had other outcomes.
    """
    every = landings_of(races, build, (partial(sparse, events=build.events), between))
    groups = [grouped(one.taken) for one in every]
    ends = [end for some in groups for group in some for end in (group[0], group[-1])]
    ended = iter(build.run([one.tried for one in ends], LANDED))
    again = iter([shown(one.tried.race, next(ended)).trace == one.shown.trace for one in ends])
    told = []
    for race, one, some in zip(races, every, groups, strict=True):
        sure = [all([next(again), next(again)]) for _ in some]
        told.append(told_of(race, one, some, sure))
    return told


def glanced(races: Sequence[Race], build: Instrumented, offset: int) -> list[Told]:
    """The races on one build at few blocks (`few`), in kept VMs. Nothing is run again, and windows
    that are narrow may be missed. offset: at which block to begin; others show other windows."""
    stage = partial(few, events=build.events, offset=offset)
    every = landings_of(races, build, (stage,), fresh=False)
    groups = [grouped(one.taken) for one in every]
    return [
        told_of(race, one, some, [False] * len(some))
        for race, one, some in zip(races, every, groups, strict=True)
    ]


def landings_of(
    races: Sequence[Race], build: Instrumented, stages: Sequence[Further], fresh: bool = True
) -> list[Landings]:
    """The races before and after the step, then at the blocks that the stages say."""
    run = partial(build.run, fresh=fresh)
    ends = run([one for race in races for one in edge_tries(race)], LANDED | PASSED)
    ended = iter(ends)
    both = [edges(race, ended) for race in races]
    every = [blocks_of(race, late) for race, late in zip(races, ends[1::2], strict=True)]
    tries = [list(chosen(race, some)) for race, some in zip(races, every, strict=True)]
    landings: list[dict[int, Landing]] = [{} for _ in races]
    for further in stages:
        todo = [further(tries[number], landings[number]) for number in range(len(races))]
        ended = iter(run([tries[n][at] for n, some in enumerate(todo) for at in some], LANDED))
        for number, some in enumerate(todo):
            for at in some:
                one = tries[number][at]
                landings[number][at] = Landing(one, shown(one.race, next(ended)))
    return [
        Landings(len(some), edge, [found[at] for at in sorted(found)])
        for some, edge, found in zip(every, both, landings, strict=True)
    ]


def told_of(
    race: Race, landings: Landings, groups: Sequence[Sequence[Landing]], sure: Sequence[bool]
) -> Told:
    """A race on one build, from its landings and how they are grouped."""
    intervals = tuple(
        interval(race, landings.edges, group, one) for group, one in zip(groups, sure, strict=True)
    )
    missed = sum(one.shown.landed.place != one.tried.place for one in landings.taken)
    before, after, _ = landings.edges
    return Told(landings.blocks, before, after, intervals, missed)


def grouped(landings: Sequence[Landing]) -> list[list[Landing]]:
    """Those one after another that had the same outcome."""
    return [list(group) for _, group in groupby(landings, lambda one: one.shown.trace)]


def interval(race: Race, both: Edges, group: Sequence[Landing], sure: bool) -> Interval:
    """Landings one after another that had the same outcome."""
    outcome = group[0].shown.trace
    words = {"before": both.before, "after": both.after}
    like = tuple(word for word, edge in words.items() if edge == outcome)
    broken = () if like else sorted(rulings(race, outcome))
    rules = tuple(one for one in broken if kind(one, outcome) not in both.rules)
    rules = rules or tuple(hangs(both, outcome))
    places = tuple(one.tried.place for one in group)
    return Interval(group[0].tried, group[-1].tried, places, outcome, like, rules, sure)
