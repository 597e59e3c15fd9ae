"""Where in an instrumented KVM a message lands: from `at` of a schedule to what the agent reads."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from variants.live.inside import read_blocks
from variants.live.layout import Layout, Place, place
from variants.live.protocol import Landing, Raw, Refused
from variants.live.spots import FURTHER, LEFT_OUT, OF_PATCHES, lines_of, places_of
from variants.machine.points import Point

NEVER: Final = 1 << 30
"""No step reaches so many blocks: a message lands when it is over."""
MOST_PLACES: Final = 8
"""INSIDE_PLACES of agent/inside.h."""
MOST_PASSED: Final = 64 << 10
"""Of a step's blocks so many are told: INSIDE_ROOM there."""


class Landed(NamedTuple):
    """Where a message landed: the number of the block in its step, -1 for the step's end.

    interrupts_off: they were, there. kicked: the vCPU was in the guest, or on its way, and was sent
    an interrupt as from another processor.
    """

    number: int
    place: Place
    interrupts_off: bool
    kicked: bool


def at_block(number: int, places: Iterable[Place] = ()) -> dict[str, Any]:
    """`at` of the block that is reached as `number`-th, from 0; of those at `places`, if any."""
    listed = [str(one) for one in places]
    return {"block": number} | ({"places": listed} if listed else {})


def landing_in(modules: Path) -> Landing:
    """`at` as the agent reads it, for an instrumented build: a block, or a preemption point."""

    def landing(at: Any) -> str:
        return block_text(at) if isinstance(at, Mapping) else point_text(modules, at)

    return landing


def block_text(at: Mapping[str, Any]) -> str:
    places = ",".join(at.get("places", ()))
    return f"{at['block']}@{places}" if places else str(at["block"])


blocks_in = lru_cache(read_blocks)


@lru_cache
def point_text(modules: Path, point: Point) -> str:
    """A preemption point as the agent reads it. Raises Refused if the build has no block for it."""
    if point in LEFT_OUT:
        raise Refused(f"{point}: {LEFT_OUT[point]}")
    found = places_of(point, blocks_in(modules), lines_of(modules))
    if not found and point in OF_PATCHES:
        return str(NEVER)
    if not found:
        raise Refused(f"{point}: no block of its own")
    if len(found) > MOST_PLACES:
        raise Refused(f"{point}: {len(found)} blocks, too many")
    return f"0+{FURTHER.get(point, 0)}@{','.join(map(str, found))}"


def landed(raw: Raw, layout: Layout) -> list[Landed]:
    """The messages that were to land in a step, in the order in which they were sent."""
    found = []
    for text in filter(None, raw.get("landed", "").split(",")):
        number, pc, off, kicked = text.split(":")
        where = place(layout, int(pc, 16))
        found.append(Landed(int(number), where, off == "1", kicked == "1"))
    return found


def passed(raw: Raw, layout: Layout) -> list[Place]:
    """The blocks of a step, in order, each as often as it was reached."""
    return [place(layout, int(pc, 16)) for pc in filter(None, raw.get("pcs", "").split(","))]
