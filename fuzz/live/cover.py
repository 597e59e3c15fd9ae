"""Tours: schedules that take every step in every outline that `original` can be in.

A patch acts where a vCPU is in some state and something happens to it. States are too many to try
each with everything (docs/live.md has figures); outlines, what of a state decides what becomes of
events, are few enough. A pair is an outline, of the BSP or of an AP, with what happens next: a step
of the vCPU, or a message that reaches it. The graph is explored first, each usual alphabet by
itself, so that every pair there is gets known; then greedy tours take them all, each on one vCPU,
with the messages from another that does nothing else (`fuzz.explore.exhaustive` says why that loses
nothing).
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from fuzz.campaign.coverage import Outline, outline
from fuzz.compare.compared import Compared
from fuzz.explore.exhaustive import AP, BSP, Prefix, steps
from fuzz.explore.search import Event
from fuzz.memory.numbers import VcpuId, vcpu_of
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import Alphabet
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import initial_vcpu
from variants.machine.step import MIN_VCPUS
from variants.machine.vcpu import VcpuState, thaw

MOST_STEPS: Final = 32
"""Of a tour, and of a novelty walk."""

Pair = tuple[bool, Outline, Event]
"""On the BSP or not, in this outline, what happens."""


class Graph(NamedTuple):
    """What one vCPU of a variant can do. States are numbers, in the order of their distance from
    the starts, the first two: an AP's and the BSP's.

    after: by state and event, the state that follows. met: by state, the number of its outline,
    of the BSP or an AP, in `outlines`. came: by state, how it was reached first: the state before
    and the event; of the starts, nothing real.
    """

    events: tuple[Event, ...]
    after: list[Sequence[int]]
    met: list[int]
    outlines: list[tuple[bool, Outline]]
    came: list[tuple[int, int]]


STARTS: Final = (AP, BSP)
"""Of the first two states of a graph, the vCPU."""


def pairs_met(vcpu: VcpuState) -> tuple[bool, Outline]:
    """What the pairs of a vCPU in this state begin with."""
    return thaw(vcpu).bsp, outline(vcpu)


def explored(subject: Compared, alphabet: Alphabet, tick: Callable[[], None]) -> Graph:
    """The graph of the only variant in `subject`, all of it; races are left out.

    tick: called now and then.
    """
    tables = Tables(subject, alphabet.steps)
    messages = [tables.message_id(irq) for irq in alphabet.messages]
    events = [Event(step, None) for step in alphabet.steps]
    events += [Event(None, irq) for irq in alphabet.messages]
    states = [tables.vcpu_id(initial_vcpu(on == BSP)) for on in STARTS]
    numbers = {vcpu: number for number, vcpu in enumerate(states)}
    came = [(number, 0) for number, _ in enumerate(states)]
    after: list[Sequence[int]] = []
    for number, vcpu in enumerate(states):  # it grows meanwhile
        tick()
        follow: list[VcpuId] = [vcpu_of(result) for result in tables.row(0, vcpu)]
        follow += [tables.received(0, vcpu, message) for message in messages]
        for event, one in enumerate(follow):
            if one not in numbers:
                numbers[one] = len(states)
                states.append(one)
                came.append((number, event))
        after.append(array("L", [numbers[one] for one in follow]))
    outlines: dict[tuple[bool, Outline], int] = {}
    met = [outlines.setdefault(pairs_met(tables.vcpu(one)), len(outlines)) for one in states]
    return Graph(tuple(events), after, met, list(outlines), came)


def tours(
    subject: Compared, alphabets: Sequence[Alphabet], tick: Callable[[], None]
) -> tuple[list[Schedule], set[Pair]]:
    """Schedules of `MOST_STEPS` steps at most that take every pair of the only variant in
    `subject`, and these pairs. The same for the same models."""
    taken: set[Pair] = set()
    found = []
    for alphabet in alphabets:
        graph = explored(subject, alphabet, tick)
        pairs = [{(*met, event): n for n, event in enumerate(graph.events)} for met in graph.outlines]
        left = [{n for pair, n in some.items() if pair not in taken} for some in pairs]
        for start, events in tours_of(graph, left, tick):
            on = STARTS[start]
            prefix = Prefix(on, BSP if on == AP else AP)
            done = tuple(steps((graph.events[event] for event in events), prefix))
            found.append(Schedule(subject.vendor, MIN_VCPUS, done))
        taken.update(*pairs)
    return found, taken


def tours_of(
    graph: Graph, left: list[set[int]], tick: Callable[[], None]
) -> Iterator[tuple[int, list[int]]]:
    """Where each tour starts and the events it takes, until nothing is left.

    left: by outline, the events to take in it; those taken are removed.
    """
    for state, met in enumerate(graph.met):
        while left[met]:
            tick()
            start, events = way_to(graph, state)
            yield start, toured(graph, left, start, events)


def way_to(graph: Graph, state: int) -> tuple[int, list[int]]:
    """The start that `state` was reached from first, and the events from there."""
    events = []
    while state >= len(STARTS):
        state, event = graph.came[state]
        events.append(event)
    return state, events[::-1]


def toured(graph: Graph, left: list[set[int]], start: int, first: list[int]) -> list[int]:
    """The events `first`, then more, as long as something left is near: of what is left here
    first what leads to where most is left."""
    state, events = start, list[int]()
    way = first
    while way is not None:
        for event in way:
            left[graph.met[state]].discard(event)
            events.append(event)
            state = graph.after[state][event]
        room = MOST_STEPS - len(events)
        after, here = graph.after[state], left[graph.met[state]]
        if not room:
            way = None
        elif here:
            way = [max(sorted(here), key=lambda event: len(left[graph.met[after[event]]]))]
        else:
            way = way_on(graph, left, state, room)
    return events


def way_on(graph: Graph, left: list[set[int]], state: int, room: int) -> list[int] | None:
    """The shortest way to where something is left and can still be taken with `room` steps; None
    if there is none."""
    ways: dict[int, list[int]] = {state: []}
    for here in (near := [state]):  # it grows meanwhile
        if len(ways[here]) + 1 >= room:
            return None
        for event, one in enumerate(graph.after[here]):
            if one not in ways:
                ways[one] = [*ways[here], event]
                near.append(one)
                if left[graph.met[one]]:
                    return ways[one]
    return None
