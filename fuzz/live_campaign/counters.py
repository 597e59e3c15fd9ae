"""What counts as new to the fuzzer of real kernels: the basic blocks that they reach, and how they
differ. docs/live-fuzzing.md says why no more does."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final
from zlib import crc32

from fuzz.review.marks import Mark
from variants.live.layout import Place

LOOKS: Final = 4096
"""Counters of looks: by a hash, so that every process has the same, and few looks share one."""


class Counters:
    """Which of libFuzzer's counters a schedule hits, by number: there is one for each block of each
    variant, and one for each look of a difference."""

    def __init__(self, blocks: Mapping[str, Sequence[Place]]) -> None:
        """blocks: of the modules that run, by variant."""
        places = [(name, place) for name, some in blocks.items() for place in some]
        self._blocks = {place: number for number, place in enumerate(places, LOOKS)}

    @property
    def count(self) -> int:
        return LOOKS + len(self._blocks)

    def of_blocks(self, reached: Mapping[str, Collection[Place]]) -> Iterator[int]:
        """Those of the blocks that were `reached`, by variant."""
        for name, places in reached.items():
            for place in places:
                if (name, place) in self._blocks:
                    yield self._blocks[name, place]

    def of_looks(self, looks: Iterable[Mark]) -> Iterator[int]:
        """Those of differences that look so."""
        for look in looks:
            yield crc32(repr(look).encode()) % LOOKS
