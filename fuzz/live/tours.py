"""Tours: schedules that take every pair there is in `original`, each in few steps.

The graph of one vCPU is explored first, with each of the alphabets by itself, so that every pair is
known (`fuzz.live.pairs`); then greedy tours take them all, each on one vCPU, with the messages from
another that does nothing else: `fuzz.explore.exhaustive` says why that loses nothing.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence, Set
from functools import reduce
from operator import or_
from typing import Final, NamedTuple

from fuzz.compare.compared import Compared
from fuzz.explore.exhaustive import AP, BSP, Prefix, steps
from fuzz.explore.search import Event
from fuzz.live.pairs import IDLE, MOST_STEPS, Met, Pair, amounts_to, met
from fuzz.memory.numbers import vcpu_of
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import Alphabet
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import initial_vcpu
from variants.machine.step import MIN_VCPUS

STARTS: Final = (AP, BSP)
"""A graph's first states are where these vCPUs start."""


class Graph(NamedTuple):
    """What one vCPU of a variant can do. States are numbered by their distance from the starts.

    events: those of the alphabet, and `IDLE`, to which many amount where a vCPU waits. after: by
    state and event of the alphabet, the state that follows. takes: by state and event, the bit of
    what it amounts to there; can: by state, all of these. outlines: by state, a number of its
    outline in `met`. came: by state, that before it and the event, on a shortest way from a start;
    of starts, themselves.
    """

    events: tuple[Event, ...]
    after: list[Sequence[int]]
    takes: list[tuple[int, ...]]
    can: list[int]
    outlines: list[int]
    met: list[Met | None]
    came: list[tuple[int, int]]


def tours(
    subject: Compared, alphabets: Sequence[Alphabet], taken: Set[Pair], tick: Callable[[], None]
) -> tuple[list[Schedule], set[Pair]]:
    """Schedules that take every pair of the first variant of `subject` but those in `taken`, and
    all the pairs that there are.

    The same for the same model. Alphabets are taken without their races. tick: called now and then.
    """
    there: set[Pair] = set()
    found: list[Schedule] = []
    for alphabet in alphabets:
        graph = explored(subject, alphabet, tick)
        whole = [0] * len(graph.met)
        for outline, can in zip(graph.outlines, graph.can, strict=True):
            whole[outline] |= can
        pairs = [
            {(one, event): 1 << bit for bit, event in enumerate(graph.events) if can >> bit & 1}
            if one
            else {}
            for one, can in zip(graph.met, whole, strict=True)
        ]
        left = [
            sum(bit for pair, bit in some.items() if pair not in taken and pair not in there)
            for some in pairs
        ]
        for start, events in tours_of(graph, left, tick):
            prefix = Prefix(STARTS[start], STARTS[1 - start])
            done = tuple(steps((graph.events[event] for event in events), prefix))
            name = f"tour-{subject.vendor}-{len(found)}"
            found.append(Schedule(subject.vendor, MIN_VCPUS, done, name))
        there.update(pair for some in pairs for pair in some)
    return found, there


def explored(subject: Compared, alphabet: Alphabet, tick: Callable[[], None]) -> Graph:
    """The graph of the first variant of `subject`, all of it."""
    tables = Tables(subject, alphabet.steps)
    messages = [tables.message_id(irq) for irq in alphabet.messages]
    events = [Event(step, None) for step in alphabet.steps]
    events += [Event(None, irq) for irq in alphabet.messages]
    bits = {event: 1 << bit for bit, event in enumerate(dict.fromkeys([*events, IDLE]))}
    sent = tuple(bits[event] for event in events[len(alphabet.steps) :])
    states = [tables.vcpu_id(initial_vcpu(on == BSP)) for on in STARTS]
    numbers = {vcpu: number for number, vcpu in enumerate(states)}
    came = [(number, 0) for number in numbers.values()]
    after: list[Sequence[int]] = []
    takes: list[tuple[int, ...]] = []
    can: list[int] = []
    for number, vcpu in enumerate(states):  # it grows meanwhile
        tick()
        row = tables.row(0, vcpu)
        reached = [vcpu_of(result) for result in row]
        reached += [tables.received(0, vcpu, message) for message in messages]
        for event, one in enumerate(reached):
            if one not in numbers:
                numbers[one] = len(states)
                states.append(one)
                came.append((number, event))
        after.append(array("L", [numbers[one] for one in reached]))
        own = zip(events, row, strict=False)
        amount = [bits[amounts_to(event, tables.observation(result))] for event, result in own]
        takes.append((*amount, *sent))
        can.append(reduce(or_, takes[-1], 0))
    known: dict[Met | None, int] = {}
    outlines = [known.setdefault(met(tables.vcpu(one)), len(known)) for one in states]
    return Graph(tuple(bits), after, takes, can, outlines, list(known), came)


def tours_of(
    graph: Graph, left: list[int], tick: Callable[[], None]
) -> Iterator[tuple[int, list[int]]]:
    """The state in which each tour starts, and its events, until nothing is left.

    left: by outline, the bits of what is to take in it. Those taken are removed.
    """
    for state, outline in enumerate(graph.outlines):
        while left[outline] & graph.can[state]:
            tick()
            start, way = way_to(graph, state)
            yield start, tour(graph, left, start, way)


def way_to(graph: Graph, state: int) -> tuple[int, list[int]]:
    """A start, and the events on a shortest way from it to `state`."""
    events = []
    while state >= len(STARTS):
        state, event = graph.came[state]
        events.append(event)
    return state, events[::-1]


def tour(graph: Graph, left: list[int], start: int, way: Sequence[int]) -> list[int]:
    """The events of `way`, and then what is left here or nearest, again and again. Of what is left
    here that comes first which leads to where most is left: mostly it leads back here."""
    state, events = start, list[int]()
    while True:
        for event in way:
            left[graph.outlines[state]] &= ~graph.takes[state][event]
            events.append(event)
            state = graph.after[state][event]
        room = MOST_STEPS - len(events)
        if here := left[graph.outlines[state]] & graph.can[state]:
            after = graph.after[state]
            rest = {
                event: left[graph.outlines[after[event]]].bit_count()
                for event, bit in enumerate(graph.takes[state])
                if bit & here
            }
            way = [max(rest, key=lambda event: rest[event])][:room]
        else:
            way = way_on(graph, left, state, room - 1)
        if not way:
            return events


def way_on(graph: Graph, left: list[int], state: int, most: int) -> list[int]:
    """The shortest way of `most` steps to where something is left, none if there is none."""
    ways: dict[int, list[int]] = {state: []}
    near = [state]
    for here in near:  # it grows meanwhile
        if len(ways[here]) >= most:
            break
        for event, one in enumerate(graph.after[here]):
            if one not in ways:
                ways[one] = [*ways[here], event]
                near.append(one)
                if left[graph.outlines[one]] & graph.can[one]:
                    return ways[one]
    return []
