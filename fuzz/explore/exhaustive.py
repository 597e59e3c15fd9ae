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
it. Such a schedule takes a third vCPU to send for both. Of three variants two are left then, so
one such split is all; of more than three, what a second one leaves is not followed to a third vCPU.

An `at` write is one message that lands in the step that follows, at a point which that step
passes in some variant; landing elsewhere is the same as arriving after the step. One such
message a step is in the alphabet, not two.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from fuzz.compare.compared import Compared, Group
from fuzz.compare.joint import regroup, start
from fuzz.compare.signature import Divergence, Form, Signature
from fuzz.explore.search import Event, Path, Progress, Search
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import Alphabet
from fuzz.schedule.order import rank
from fuzz.schedule.schedule import Schedule
from variants.machine.step import MIN_VCPUS, Step

BSP: Final = 0
AP: Final = 1
THIRD: Final = 2


class Explored(NamedTuple):
    """states: joint vCPUs reached. transitions: steps and messages taken from them. depth: the
    most steps it took to reach one. fixpoint: nothing is left to explore. interrupted:
    KeyboardInterrupt ended it early. found: by signature.

    shown: for a latent signature, the shortest schedule found that begins with one of its own and
    makes the difference show; None if none does, however it goes on and on whichever vCPU. A
    latent signature that is not in it has not been followed to an end."""

    states: int
    transitions: int
    depth: int
    fixpoint: bool
    interrupted: bool
    found: dict[Signature, Form]
    shown: dict[Signature, Form | None]


class Way(NamedTuple):
    """A schedule for a signature, and how the search got there."""

    finding: Form
    prefix: "Prefix"
    search: Search
    path: Path


class Prefix(NamedTuple):
    """Where a search is: on vCPU `on`, with messages from `sender`, after the steps `before`."""

    on: int
    sender: int
    before: tuple[Step, ...] = ()


UNEXPLORED: Final = Explored(0, 0, 0, False, True, {}, {})
"""An exploration that was interrupted before it began."""


def parts(alphabets: Iterable[Alphabet]) -> tuple[Alphabet, ...]:
    """The alphabets to explore, each by itself, for an exploration with `alphabets`.

    Of schedules for a signature, one that real KVM can run is better than a shorter one with `at`
    steps. So an alphabet with races is explored without them too.
    """
    some = tuple(alphabets)
    return tuple(dict.fromkeys((*(one._replace(points=()) for one in some), *some)))


def merged(done: Sequence[Explored]) -> Explored:
    """What explorations of one vendor have found together."""
    found: dict[Signature, Form] = {}
    shown: dict[Signature, Form | None] = {}
    for one in done:
        for signature, finding in one.found.items():
            found[signature] = better(found.get(signature), finding)
        for signature, later in one.shown.items():
            known = shown.get(signature)
            shown[signature] = better(known, later) if later else known
    fixpoint = all(one.fixpoint for one in done)
    open_ended = {signature for one in done for signature in one.found.keys() - one.shown.keys()}
    return Explored(
        sum(one.states for one in done),
        sum(one.transitions for one in done),
        max(one.depth for one in done),
        fixpoint,
        any(one.interrupted for one in done),
        found,
        {
            signature: later
            for signature, later in shown.items()
            if later or (fixpoint and signature not in open_ended)
        },
    )


def better(known: Form | None, other: Form) -> Form:
    """The one with the better reproducer, `known` if they are equally good."""
    return other if known is None or rank(other.schedule) < rank(known.schedule) else known


def explore(
    compared: Compared, alphabet: Alphabet, max_depth: int | None, progress: Progress
) -> Explored:
    """Explore with `alphabet` until nothing is new, or to schedules of `max_depth` steps.

    KeyboardInterrupt ends it early, with what was found so far and no fixpoint.
    """
    tables = Tables(compared, alphabet.steps)
    searches: list[tuple[Prefix, Search]] = []
    interrupted = False
    try:
        for prefix in (Prefix(AP, BSP), Prefix(BSP, AP)):
            search = Search(tables, alphabet, start(compared, prefix.on == BSP), progress)
            searches.append((prefix, search))
            search.run(max_depth)
        for prefix, groups in list(after_splits(searches)):
            left = None if max_depth is None else max_depth - len(prefix.before)
            if left is None or left > 0:
                vcpu = regroup(start(compared, prefix.on == BSP), groups)
                search = Search(tables, alphabet, vcpu, progress)
                searches.append((prefix, search))
                search.run(left)
    except KeyboardInterrupt:
        interrupted = True
    ways: dict[Signature, list[Way]] = {}
    for prefix, search in searches:
        for signature, (divergence, path) in search.found.items():
            finding = Form(divergence, schedule_of(search, path, prefix))
            ways.setdefault(signature, []).append(Way(finding, prefix, search, path))
    for some in ways.values():
        some.sort(key=lambda way: len(way.finding.schedule.steps))
    fixpoint = not interrupted and all(search.fixpoint for _, search in searches)
    shown: dict[Signature, Form | None] = {}
    try:
        for signature, some in ways.items():
            if some[0].finding.divergence.kind == "latent" and not interrupted:
                later, to_an_end = resolve(some, max_depth, progress)
                if later or (to_an_end and fixpoint):
                    shown[signature] = later
    except KeyboardInterrupt:
        interrupted = True
    return Explored(
        sum(search.states for _, search in searches),
        sum(search.transitions for _, search in searches),
        max((len(prefix.before) + search.depth for prefix, search in searches), default=0),
        fixpoint and not interrupted,
        interrupted,
        {signature: some[0].finding for signature, some in ways.items()},
        shown,
    )


def after_splits(
    searches: Iterable[tuple[Prefix, Search]],
) -> Iterator[tuple[Prefix, tuple[Group, ...]]]:
    """Where to explore again: on another vCPU, with the groups that a split leaves."""
    shortest: dict[tuple[bool, tuple[Group, ...]], Prefix] = {}
    for prefix, search in searches:
        others = ((BSP, THIRD), (THIRD, BSP)) if prefix.on == AP else ((AP, THIRD),)
        for groups, path in search.groups.items():
            for on, sender in others:
                before = steps(search.events(path), prefix._replace(sender=sender))
                found = Prefix(on, sender, tuple(before))
                known = shortest.get((on == BSP, groups), found)
                if groups and len(found.before) <= len(known.before):
                    shortest[on == BSP, groups] = found
    for (_, groups), prefix in shortest.items():
        yield prefix, groups


def resolve(
    ways: Sequence[Way], max_depth: int | None, progress: Progress
) -> tuple[Form | None, bool]:
    """The shortest schedule that goes on from one of `ways`, all of a latent signature, and makes
    the difference show; None if there is none. The flag: all were followed to an end."""
    shortest: Form | None = None
    to_an_end = True
    for way in ways:
        most = len(shortest.schedule.steps) - 1 if shortest else max_depth
        later, ended = follow(way, most, progress)
        shortest = later or shortest
        to_an_end = to_an_end and ended
    return shortest, to_an_end


def follow(way: Way, max_depth: int | None, progress: Progress) -> tuple[Form | None, bool]:
    """The shortest continuation that makes a latent divergence show, in `max_depth` steps in all.
    The flag: there is nothing more to explore."""
    search, schedule = way.search, way.finding.schedule
    cause = way.finding.signature.cause

    def tells(divergence: Divergence) -> bool:
        return divergence.kind != "latent" and divergence.signature.cause == cause

    rest = Search(search.tables, search.alphabet, search.end(way.path), progress)
    left = None if max_depth is None else max_depth - len(schedule.steps)
    rest.run(left, until=lambda: any(tells(one) for one, _ in rest.found.values()))
    telling = [(path, one) for one, path in rest.found.values() if tells(one)]
    if not telling:
        return None, rest.fixpoint
    path, divergence = min(telling, key=lambda one: one[0].length)
    more = steps(rest.events(path), way.prefix)
    return Form(divergence, schedule._replace(steps=(*schedule.steps, *more))), False


def schedule_of(search: Search, path: Path, prefix: Prefix) -> Schedule:
    """The schedule of `path`."""
    taken = (*prefix.before, *steps(search.events(path), prefix))
    vcpus = max(MIN_VCPUS, prefix.sender + 1)
    return Schedule(search.tables.compared.vendor, vcpus, taken)


def steps(events: Iterable[Event], prefix: Prefix) -> Iterator[Step]:
    """The schedule steps of what happened to the vCPU."""
    for event in events:
        if event.message is not None:
            mode, vector = event.message
            yield Step("icr", prefix.sender, prefix.on, mode, vector, event.point)
        if event.step is not None:
            yield event.step._replace(on=prefix.on)
