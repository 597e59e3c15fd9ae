"""At which blocks of a step to have a message land."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from fuzz.live.landings import Landing, Race, Try
from variants.live.landing import at_block
from variants.live.layout import Place

TURNS: Final = 3
"""How often a block is taken that a step reaches again and again: a loop that spins goes on so."""
STRIDE: Final = 16
"""Of blocks off the event path one in so many is taken at first."""
FEW: Final = 16
"""Of all blocks a glance takes so many at most, besides those of the event path."""

Further = Callable[[Sequence[Try], Mapping[int, Landing]], Sequence[int]]
"""Which tries of a race to take next, by number, when those in the mapping have been taken."""


def chosen(race: Race, blocks: Sequence[Place]) -> Iterator[Try]:
    """A try for each block of a step, the first times that it is reached."""
    times: Counter[Place] = Counter()
    for number, one in enumerate(blocks):
        if times[one] < TURNS:
            yield Try(race, at_block(times[one], [one]), number, one)
        times[one] += 1


def sparse(tries: Sequence[Try], _: Mapping[int, Landing], events: Collection[Place]) -> list[int]:
    """The tries to begin with, by number."""
    last = len(tries) - 1
    return [
        number
        for number, one in enumerate(tries)
        if number % STRIDE == 0 or number == last or one.place in events
    ]


def few(
    tries: Sequence[Try], _: Mapping[int, Landing], events: Collection[Place], offset: int
) -> list[int]:
    """The tries of a glance, by number: every `STRIDE`-th of the event path, and every so many of
    all, `FEW` at most."""
    on_path = [number for number, one in enumerate(tries) if one.place in events]
    apart = max(2 * STRIDE, -(-len(tries) // FEW))
    taken = {*on_path[offset % STRIDE :: STRIDE], *range(offset % apart, len(tries), apart)}
    return sorted(taken)


def between(tries: Sequence[Try], landings: Mapping[int, Landing]) -> list[int]:
    """The tries between two others that had other outcomes, by number."""
    return [
        number
        for one, other in pairwise(sorted(landings))
        if landings[one].shown.trace != landings[other].shown.trace
        for number in range(one + 1, other)
    ]
