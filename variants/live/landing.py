"""Where in an instrumented KVM a message lands: from `at` of a schedule to what the agent reads."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from variants.live.layout import Layout, Place, place
from variants.live.protocol import Raw, Refused


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


def landing(at: Any) -> str:
    """`at` as the agent reads it. Raises Refused for a named point."""
    if not isinstance(at, Mapping):
        raise Refused(f"at {at} has no place in real KVM")
    places = ",".join(at.get("places", ()))
    return f"{at['block']}@{places}" if places else str(at["block"])


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
