"""What counts as new to the fuzzer of real kernels: the basic blocks that they reach, and what they
show from outside."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from fuzz.compare.traces import Traces
from fuzz.review.marks import marks
from fuzz.review.mutations import contexts
from fuzz.schedule.schedule import Schedule
from variants.live.layout import Place

LOOKS: Final = 4096
"""Counters of what is seen from outside."""


class Counters:
    """Which of libFuzzer's counters a schedule hits, by number.

    There is one for each block of each variant. Of outside there is one for each context
    (`fuzz.review.mutations`) while the variants do the same, and for each look of what differs.
    """

    def __init__(self, blocks: Mapping[str, Sequence[Place]]) -> None:
        """blocks: of the modules that run, by variant."""
        places = [(name, place) for name, some in blocks.items() for place in some]
        self._blocks = {place: number for number, place in enumerate(places, LOOKS)}
        self._looks: dict[object, int] = {}

    @property
    def count(self) -> int:
        return LOOKS + len(self._blocks)

    def of_blocks(self, reached: Mapping[str, Collection[Place]]) -> Iterator[int]:
        """Those of the blocks that were `reached`."""
        for name, places in reached.items():
            for place in places:
                if (name, place) in self._blocks:
                    yield self._blocks[name, place]

    def of_looks(self, schedule: Schedule, traces: Traces) -> Iterator[int]:
        """Those of what `schedule` shows."""
        parted = marks(schedule, traces)
        first = next(iter(traces.values()))
        alike = parted[0][0] if parted else len(first)
        for look in (*contexts(schedule, first[:alike]), *(mark for _, mark in parted)):
            yield self._looks.setdefault(look, len(self._looks) % LOOKS)
