"""Inputs to go on from, ordered so that what has been gone on from least comes first.

The joint vCPUs that inputs lead to fall into kinds: who is still compared, how they differ inside,
and what family of events the input has. A kind falls into outlines (`fuzz.campaign.coverage`).
First a kind is chosen and then an outline of it: a kind that is rare would be left alone for long
otherwise, and behind it may be what nobody has seen.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, NamedTuple, TypeVar

from fuzz.compare.compared import Group
from fuzz.compare.signature import Divergence

COMPARED: Final = 4
"""Of so many drawn keys the one is chosen that has been chosen least."""

K = TypeVar("K", bound=Hashable)
Below = Callable[[int], int]
"""Draws a number from 0 to below its argument."""


class Kind(NamedTuple):
    """groups: of variants still compared. latent: how they differ inside. family: what the input
    may have beside the usual steps, None for anything."""

    groups: tuple[Group, ...]
    latent: tuple[Divergence, ...]
    family: str | None


class Start(NamedTuple):
    """An input to go on from, and the vCPU that goes on."""

    data: bytes
    on: int


class Seldom(Generic[K]):
    """Keys that can be chosen, those first that have been chosen least."""

    def __init__(self) -> None:
        self._chosen: dict[K, int] = {}
        self._keys: list[K] = []

    def __bool__(self) -> bool:
        return bool(self._keys)

    def put(self, key: K) -> bool:
        """Add a key. Has it never been here?"""
        new = key not in self._chosen
        if new:
            self._chosen[key] = 0
        self._keys.append(key)
        return new

    def choose(self, below: Below) -> K:
        """There has to be one."""
        drawn = [self._keys[below(len(self._keys))] for _ in range(COMPARED)]
        key = min(drawn, key=self._chosen.__getitem__)
        self._chosen[key] += 1
        return key

    def remove(self, key: K) -> None:
        """How often it has been chosen is remembered."""
        self._keys.remove(key)

    def clear(self) -> None:
        """Remove all."""
        self._keys.clear()


class Outlines:
    """Inputs by kind and outline; of an outline in the order in which they came."""

    def __init__(self) -> None:
        self._kinds: Seldom[Kind] = Seldom()
        self._outlines: defaultdict[Kind, Seldom[int]] = defaultdict(Seldom)
        self._starts: defaultdict[tuple[Kind, int], deque[Start]] = defaultdict(deque)

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def put(self, kind: Kind, outline: int, start: Start) -> bool:
        """Add an input that leads to an outline, by its counter. Is it the first that does?"""
        outlines, starts = self._outlines[kind], self._starts[kind, outline]
        if not outlines:
            self._kinds.put(kind)
        first = not starts and outlines.put(outline)
        starts.append(start)
        return first

    def take(self, below: Below) -> tuple[Kind, Start]:
        """An input, which is then no longer here. There has to be one."""
        kind = self._kinds.choose(below)
        outlines = self._outlines[kind]
        outline = outlines.choose(below)
        starts = self._starts[kind, outline]
        start = starts.popleft()
        if not starts:
            outlines.remove(outline)
            if not outlines:
                self._kinds.remove(kind)
        return kind, start

    def clear(self) -> None:
        """Remove all inputs; how often kinds and outlines have been chosen is remembered."""
        self._kinds.clear()
        for outlines in self._outlines.values():
            outlines.clear()
        self._starts.clear()
