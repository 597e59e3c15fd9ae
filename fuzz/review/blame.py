"""Which hunks of a patch a divergence is laid to, and between which kernels it came."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

Hunks = frozenset[int]
"""Hunks of a patch, by number."""
Shows = Callable[[Sequence[Hunks]], Mapping[Hunks, bool | None]]
"""Whether a divergence shows with those hunks of the patch and no others; None: not to be built."""
Which = Callable[[Sequence[Hunks]], list[Hunks]]
"""Those of some sets that will do."""
Behaviour = TypeVar("Behaviour")


class Laid(NamedTuple):
    """What a divergence is laid to.

    sets: without any one of these it is gone. Several are single hunks, each of which it takes. A
    set of several hunks is one of which a part would do to bring it about. unknown: the hunks
    without which alone the patch cannot be built.
    """

    sets: tuple[Hunks, ...]
    unknown: Hunks


def laid_to(count: int, shows: Shows) -> Laid:
    """The smallest sets of a patch's hunks, 1 to `count`, without which a divergence is gone.

    It is taken as known that it shows with all of them and does not with none. Where leaving out a
    single hunk is enough, all hunks of which that is so are the answer. Else it is one set, not
    the only one perhaps: no hunk of it can be put back, nor two where one alone does not build.
    Each set of hunks is asked about once, in batches.
    """
    search = Search(count, shows)
    single = [Hunks({one}) for one in search.all]
    healing = search.healing(single)
    unknown = Hunks(one for (one,) in single if search.without(Hunks({one})) is None)
    return Laid(tuple(healing or [search.least(search.all, unknown)]), unknown)


class Search:
    """A patch, and what has been asked about it."""

    def __init__(self, count: int, shows: Shows) -> None:
        self.all = Hunks(range(1, count + 1))
        self.shows = shows
        self.known: dict[Hunks, bool | None] = {self.all: True, Hunks(): False}

    def without(self, left_out: Hunks) -> bool | None:
        """Whether the divergence shows without these hunks, which have been asked about."""
        return self.known[self.all - left_out]

    def ask(self, sets: Sequence[Hunks]) -> None:
        wanted = dict.fromkeys(self.all - one for one in sets)
        new = [kept for kept in wanted if kept not in self.known]
        if new:
            self.known |= self.shows(new)

    def healing(self, sets: Sequence[Hunks]) -> list[Hunks]:
        """Those without which the divergence is gone."""
        self.ask(sets)
        return [one for one in sets if self.without(one) is False]

    def building(self, sets: Sequence[Hunks]) -> list[Hunks]:
        """Those without which the patch can be built."""
        self.ask(sets)
        return [one for one in sets if self.without(one) is not None]

    def least(self, left_out: Hunks, unknown: Hunks) -> Hunks:
        """A part of `left_out`, which heals, of which nothing can be put back."""
        # What does not build alone is side by side: it may build together.
        order = sorted(left_out, key=lambda one: (one not in unknown, one))
        left_out = reduced(order, self.healing)
        for one in sorted(left_out):
            if self.without(left_out - {one}) is None:
                pairs = [left_out - {one, other} for other in sorted(left_out - {one})]
                less = self.healing(pairs)
                if not self.building(pairs):
                    less = self.healing([left_out - self.built_with(one, left_out)])
                if less:
                    return self.least(less[0], unknown)
        return left_out

    def built_with(self, one: int, left_out: Hunks) -> Hunks:
        """Few of the hunks left out, that one among them, that build when put back."""

        def building(parts: Sequence[Hunks]) -> list[Hunks]:
            rest = {left_out - part - {one}: part for part in parts}
            return [rest[builds] for builds in self.building(list(rest))]

        return reduced(sorted(left_out - {one}), building) | {one}


def reduced(order: Sequence[int], which: Which) -> Hunks:
    """A set that will do, of which none can be spared. order: all of one that will do."""
    left = list(order)
    size = len(left)
    while left:
        size = max(1, size // 2)
        parts = [Hunks(left[start : start + size]) for start in range(0, len(left), size)]
        doing = which([Hunks(left) - part for part in parts])
        if len(doing) > 1:
            doing = which([Hunks.intersection(*doing)]) or doing
        if not doing and size == 1:
            break
        left = [one for one in left if not doing or one in doing[0]]
    return Hunks(left)


def turns(order: Sequence[str], behaviour: Mapping[str, Behaviour | None]) -> list[tuple[str, str]]:
    """The neighbours among kernels in `order` that behave differently; none, one pair, or more.

    Kernels of which it is not known (None, or not there) are passed over, so that a pair may have
    such between.
    """
    known = [name for name in order if behaviour.get(name) is not None]
    return [(one, other) for one, other in pairwise(known) if behaviour[one] != behaviour[other]]
