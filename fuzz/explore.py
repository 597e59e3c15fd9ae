"""Exhaustive exploration: every divergence there is, each with a shortest schedule.

The search is over joint vCPUs, not over VMs, and loses nothing by it. vCPUs meet only by
interrupt messages. Take any schedule and the vCPU on which it shows a divergence: that vCPU saw
its own steps and the messages that reached it. Let a vCPU that does nothing else send those
messages, and leave out everything else: the vCPU sees the same and shows the same, in no more
steps. So one vCPU that can receive any message at any time stands for all VMs of two or more
vCPUs; the BSP and an AP, which INIT treats differently, are explored one after the other. How
many vCPUs there are, and which is which, has then no part in the state.

One thing the vCPUs of a VM do share: who is still compared with whom. What a split on another
vCPU leaves of the groups is explored from the start again, with that split's schedule before
it. Such a schedule takes a third vCPU to send for both.

An `at` write is one message that lands in the step that follows, at a point which that step
passes in some variant; landing elsewhere is the same as arriving after the step. One such
message a step is in the alphabet, not two.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from fuzz.alphabet import Alphabet
from fuzz.compared import Compared
from fuzz.joint import regroup, start
from fuzz.schedule import Schedule
from fuzz.search import Event, Progress, Search
from fuzz.signature import Divergence
from fuzz.tables import Tables
from variants.machine.step import MIN_VCPUS, Step

BSP: Final = 0
AP: Final = 1
THIRD: Final = 2


class Found(NamedTuple):
    """A divergence class, and a shortest schedule that shows it."""

    divergence: Divergence
    schedule: Schedule


class Explored(NamedTuple):
    """states: joint vCPUs reached. transitions: steps and messages taken from them. depth: how
    many steps deep. fixpoint: nothing is left to explore. found: by signature."""

    states: int
    transitions: int
    depth: int
    fixpoint: bool
    found: dict[str, Found]


def explore(
    compared: Compared, alphabet: Alphabet, max_depth: int | None, progress: Progress
) -> Explored:
    """Explore until nothing is new, or to schedules of `max_depth` steps."""
    tables = Tables(compared, alphabet)
    found: dict[str, Found] = {}
    whole = {}
    for on, sender in ((AP, BSP), (BSP, AP)):
        search = whole[on] = Search(tables, start(compared, on == BSP), progress)
        search.run(max_depth)
        collect(found, search, (), on, sender)
    every = list(whole.values())
    for on, other in ((AP, BSP), (BSP, AP)):
        for groups, path in whole[other].groups.items():
            before = tuple(steps(whole[other].events(path), other, THIRD))
            if not groups or (max_depth is not None and len(before) >= max_depth):
                continue
            search = Search(tables, regroup(start(compared, on == BSP), groups), progress)
            search.run(None if max_depth is None else max_depth - len(before))
            collect(found, search, before, on, THIRD)
            every.append(search)
    return Explored(
        sum(search.states for search in every),
        sum(search.transitions for search in every),
        max(search.depth for search in whole.values()),
        all(search.fixpoint for search in every),
        found,
    )


def collect(
    found: dict[str, Found], search: Search, before: tuple[Step, ...], on: int, sender: int
) -> None:
    """Add what `search` found on vCPU `on`, with the steps `before` it, where that is shorter."""
    for signature, (divergence, path) in search.found.items():
        taken = before + tuple(steps(search.events(path), on, sender))
        known = found.get(signature)
        if known is None or len(taken) < len(known.schedule.steps):
            vcpus = max(MIN_VCPUS, sender + 1)
            vendor = search.tables.compared.vendor
            found[signature] = Found(divergence, Schedule(vendor, vcpus, taken))


def steps(events: Iterable[Event], on: int, sender: int) -> Iterator[Step]:
    """The schedule steps of what happened to vCPU `on`."""
    for event in events:
        if event.message is not None:
            mode, vector = event.message
            yield Step("icr", sender, on, mode, vector, event.point)
        if event.step is not None:
            yield event.step._replace(on=on)
