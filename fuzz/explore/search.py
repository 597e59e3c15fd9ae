"""A breadth-first search over the joint states of one vCPU.

A joint vCPU is kept as one number, and of how it was reached only its parent and the event that
led here. Most steps make all variants the same thing, or leave them as unequal as they were:
that takes a few look-ups in `fuzz.memory`. Where variants come to differ, `fuzz.compare.joint`
says how.
"""

import time
from array import array
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from fuzz.compare.compared import Group
from fuzz.compare.joint import JointVcpu, Taken, receive, take
from fuzz.compare.signature import Divergence, Signature
from fuzz.memory.numbers import (
    NO_ARRIVALS,
    SEEN_BITS,
    ArrivalsId,
    JointId,
    LabelId,
    Result,
    StepId,
    VcpuId,
)
from fuzz.memory.packed import NOTHING, Label, Mark, Packed
from fuzz.memory.tables import Tables, first_places
from fuzz.schedule.alphabet import UNRACED, Alphabet
from variants.machine.step import Step
from variants.machine.vcpu import Irq

NEVER: Final = 1 << 62

Progress = Callable[[int, int, int, int], None]
"""Called about once a second with depth, states, transitions and signatures so far."""


class Event(NamedTuple):
    """What happens to the vCPU: a message arrives, or it takes a step, or both: then the message
    lands at `point` in the step, and it is two schedule steps."""

    step: Step | None
    message: Irq | None
    point: str = ""


class Path(NamedTuple):
    """How to get somewhere: an event after the state number `parent`; `length` in steps."""

    length: int
    parent: int
    event: int


class Here(NamedTuple):
    """A joint vCPU from which steps are taken: its label, and the states of the label's members."""

    label: Label
    vcpus: list[VcpuId]


class Search:
    """The search from `root`, and what it has found.

    found: the divergence classes, each with a shortest path to it; a latent one's ends at the
    state that is unequal inside. groups: likewise, what remains of the groups after splits.
    transitions: steps and messages taken so far; races that come to the same are one.

    tables: those of the alphabet's steps.
    """

    def __init__(
        self, tables: Tables, alphabet: Alphabet, root: JointVcpu, progress: Progress
    ) -> None:
        self.tables = tables
        self.alphabet = alphabet
        self.progress = progress
        self.transitions = 0
        self.depth = 0
        self.fixpoint = False
        self.found: dict[Signature, tuple[Divergence, Path]] = {}
        self.groups: dict[tuple[Group, ...], Path] = {}
        self._packed = Packed(tables)
        self._noted: dict[Mark, int] = {}
        self._latent: set[LabelId] = set()
        self._keys: list[JointId] = []
        self._seen: set[JointId] = set()
        self._parents = array("L")
        self._led = array("L")
        self._messages = [tables.message_id(irq) for irq in alphabet.messages]
        self._steps = [tables.step_id(step) for step in alphabet.steps]
        self._landings = tables.landings(("", *alphabet.points), alphabet.messages)
        """First those after the step."""
        self._landing_messages = [landing.message for landing in self._landings]
        # Events are numbered: messages, then steps, then for each step a message at each landing.
        self._first_step = len(self._messages)
        self._first_landing = self._first_step + len(self._steps)
        self._events = list(self._all_events())
        self._raceable = [
            (step, self._first_landing + number * len(self._landings))
            for number, step in enumerate(self._steps)
            if tables.step(step).op not in UNRACED
        ]
        self._reported = time.monotonic()
        self._add(self._packed.pack(root), Path(0, 0, 0))
        self._level = range(self.states)
        self._late: list[tuple[JointId, Path]] = []

    def _all_events(self) -> Iterator[Event]:
        """Every event, in the order of their numbers."""
        yield from (Event(None, irq) for irq in self.alphabet.messages)
        yield from (Event(step, None) for step in self.alphabet.steps)
        for step in self.alphabet.steps:
            for landing in self._landings:
                yield Event(step, self.tables.message(landing.message), landing.point)

    @property
    def states(self) -> int:
        """How many joint vCPUs have been reached."""
        return len(self._keys)

    def run(self, max_depth: int | None, until: Callable[[], bool] = lambda: False) -> None:
        """Explore to `max_depth` steps, until nothing is new, or a level ends with `until`.

        Called again, it goes on from there.
        """
        while (self._level or self._late) and not until():
            if max_depth is not None and self.depth >= max_depth:
                return
            first = self.states
            late: list[tuple[JointId, Path]] = []
            for index in self._level:
                self._expand(index)
                if self.alphabet.points and (max_depth is None or self.depth + 1 < max_depth):
                    late += self._expand_races(index)
            for key, path in self._late:
                self._add(key, path)
            self.depth += 1
            self._level, self._late = range(first, self.states), late
        self.fixpoint = not self._level and not self._late

    def events(self, path: Path) -> list[Event]:
        """The events of `path`, from the root on."""
        events = [self._events[path.event]] if path.length else []
        index = path.parent
        while index:
            events.append(self._events[self._led[index]])
            index = self._parents[index]
        return events[::-1]

    def end(self, path: Path) -> JointVcpu:
        """The joint vCPU that `path` leads to."""
        return self._taken(path).after if path.length else self.joint_vcpu(path.parent)

    def _taken(self, path: Path) -> Taken:
        """What the last event of `path` does, the long way."""
        step, irq, point = self._events[path.event]
        before = self.joint_vcpu(path.parent)
        if irq is not None:
            everyone = tuple(range(len(before.vcpus)))
            before = receive(self.tables.compared, before, everyone, point, irq)
        if step is None:
            return Taken(before, (), ())
        return take(self.tables.compared, before, step)

    def joint_vcpu(self, index: int) -> JointVcpu:
        """The joint vCPU number `index`."""
        return self._packed.unpack(self._keys[index])

    def _expand(self, index: int) -> None:
        """Let every message arrive at, and every step be taken by, the state at `index`."""
        tables, packed, seen = self.tables, self._packed, self._seen
        here = self._here(index)
        label, vcpus = here
        plain, ones = label.plain, label.ones
        length = self.depth + 1
        for event, message in enumerate(self._messages):
            received = [
                tables.received(member, vcpu, message)
                for member, vcpu in zip(label.members, vcpus, strict=True)
            ]
            joined = packed.join(label, received)
            if joined is None:
                joined = self._take(Path(length, index, event))
            if joined not in seen:
                self._add(joined, Path(length, index, event))
        pairs = zip(label.members, vcpus, strict=True)
        rows = [tables.row(member, vcpu) for member, vcpu in pairs]
        members = len(rows)
        steps, first_step = self._steps, self._first_step
        event = first_step
        for results in zip(*rows, strict=True):
            first = results[0]
            if results.count(first) == members:
                # What `join` does, without a call.
                after: int = plain | (first >> SEEN_BITS) * ones
            else:
                path = Path(length, index, event)
                after = self._follow(here, results, steps[event - first_step], NO_ARRIVALS, path)
            if after not in seen:
                self._add(JointId(after), Path(length, index, event))
            event += 1
        self.transitions += self._first_landing
        now = time.monotonic()
        if now - self._reported > 1:
            self._reported = now
            self.progress(self.depth, self.states, self.transitions, len(self.found))

    def _expand_races(self, index: int) -> list[tuple[JointId, Path]]:
        """Every step with a message that lands inside: what is new, two steps further.

        Of a message's landings that come to the same the first counts, and the first of all are
        those after the step: no race.
        """
        tables, here = self.tables, self._here(index)
        pairs = list(zip(here.label.members, here.vcpus, strict=True))
        length = self.depth + 2
        new = []
        for step, first in self._raceable:
            rows = [tables.landed(member, vcpu, step, self._landings) for member, vcpu in pairs]
            outcomes = zip(zip(*rows, strict=True), self._landing_messages, strict=True)
            for (results, _), place in first_places(outcomes).items():
                landing = self._landings[place]
                if not landing.point:
                    continue
                self.transitions += 1
                path = Path(length, index, first + place)
                after = self._follow(here, results, step, landing.arrivals, path)
                if after not in self._seen:
                    new.append((after, path))
        return new

    def _here(self, index: int) -> Here:
        joint = self._keys[index]
        return Here(self._packed.label(joint), self._packed.vcpu_ids(joint))

    def _follow(
        self,
        here: Here,
        results: tuple[Result, ...],
        step: StepId,
        arrivals: ArrivalsId,
        path: Path,
    ) -> JointId:
        """What a step with `results` leads to; notes the divergences."""
        met = [arrivals] * len(results)
        after, mark = self._packed.follow(here.label, here.vcpus, results, step, met)
        if mark and path.length < self._noted.get(mark, NEVER):
            self._noted[mark] = path.length
            return self._take(path)
        return self._take(path) if after is None else after

    def _take(self, path: Path) -> JointId:
        """Take a step the long way: variants that were alike may now differ."""
        after, divergences, _ = self._taken(path)
        for divergence in divergences:
            self._note(divergence, path)
        if divergences:
            known = self.groups.get(after.groups)
            if known is None or path.length < known.length:
                self.groups[after.groups] = path
        return self._packed.pack(after)

    def _note(self, divergence: Divergence, path: Path) -> None:
        known = self.found.get(divergence.signature)
        if known is None or path.length < known[1].length:
            self.found[divergence.signature] = (divergence, path)

    def _add(self, key: JointId, path: Path) -> None:
        """Remember a new state."""
        if key in self._seen or key == NOTHING:
            return
        self._seen.add(key)
        self._parents.append(path.parent)
        self._led.append(path.event)
        self._keys.append(key)
        label = self._packed.label(key).number
        if label not in self._latent:
            self._latent.add(label)
            for divergence in self._packed.latents(key):
                self._note(divergence, path)
