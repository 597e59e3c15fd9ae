"""A breadth-first search over the joint states of one vCPU.

A joint vCPU is kept as one number, and of how it was reached only its parent and the event that
led here. Most steps make all variants the same thing, or leave them as unequal as they were:
that takes a few look-ups in `fuzz.memory`. Where variants come to differ, `fuzz.compare.joint`
says how.
"""

import time
from array import array
from collections.abc import Callable
from itertools import product
from typing import Final, NamedTuple

from fuzz.compare.compared import Group
from fuzz.compare.joint import JointVcpu, Taken, receive, take
from fuzz.compare.signature import Divergence
from fuzz.memory.packed import NOTHING, Mark, Packed
from fuzz.memory.tables import OBSERVED_BITS, Tables
from fuzz.schedule.alphabet import UNRACED, Alphabet
from variants.machine.step import Step
from variants.machine.vcpu import Irq

NEVER: Final = 1 << 62
AFTERWARDS: Final = -1
"""In place of an event: a message that comes after the step."""

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
        self.found: dict[str, tuple[Divergence, Path]] = {}
        self.groups: dict[tuple[Group, ...], Path] = {}
        self._packed = Packed(tables)
        self._noted: dict[Mark, int] = {}
        self._latent: set[int] = set()
        self._keys: list[int] = []
        self._seen: set[int] = set()
        self._parents = array("L")
        self._led = array("L")
        self._messages = [tables.message_number(irq) for irq in alphabet.messages]
        self._events = [Event(None, irq) for irq in alphabet.messages]
        self._events += [Event(step, None) for step in alphabet.steps]
        # Backwards: of a message's races that come to the same the first counts, and none that
        # comes to what the message does after the step.
        races = list(product(alphabet.points, zip(alphabet.messages, self._messages, strict=True)))
        self._races = [(point, number) for point, (_, number) in reversed(races)]
        self._races += [("", number) for number in self._messages]
        self._race_messages = [number for _, number in self._races]
        self._armed = [tables.arrivals_number(((point, irq),)) for point, (irq, _) in races]
        self._race_events: list[list[int]] = []
        for step in alphabet.steps:
            first = len(self._events)
            self._events += [Event(step, irq, point) for point, (irq, _) in races]
            events = list(range(first, len(self._events)))
            self._race_events.append([*reversed(events), *[AFTERWARDS] * len(self._messages)])
        self._reported = time.monotonic()
        self._add(self._packed.pack(root), Path(0, 0, 0))
        self._level = range(self.states)
        self._late: list[tuple[int, Path]] = []

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
            late: list[tuple[int, Path]] = []
            for index in self._level:
                self._expand(index)
                if self.alphabet.points and (max_depth is None or self.depth + 1 < max_depth):
                    late += self._race(index)
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
            before = receive(before, tuple(range(len(before.vcpus))), point, irq)
        if step is None:
            return Taken(before, (), ())
        return take(self.tables.compared, before, step)

    def joint_vcpu(self, index: int) -> JointVcpu:
        """The joint vCPU number `index`."""
        return self._packed.unpack(self._keys[index])

    def _expand(self, index: int) -> None:
        """Let every message arrive at, and every step be taken by, the state at `index`."""
        tables, packed, seen = self.tables, self._packed, self._seen
        before = self._keys[index]
        number = before >> packed.shift
        label = packed.labels[number]
        numbers = packed.numbers(before)
        length = self.depth + 1
        event = 0
        for message in self._messages:
            after = packed.join(number, [tables.received(one, message) for one in numbers])
            if after is not None and after not in seen:
                self._add(after, Path(length, index, event))
            event += 1
        rows = [tables.row(member, n) for member, n in zip(label.members, numbers, strict=True)]
        members = len(numbers)
        first_step = event
        for results in zip(*rows, strict=True):
            first = results[0]
            if results.count(first) == members:
                after = label.plain | (first >> OBSERVED_BITS) * label.ones
            else:
                path = Path(length, index, event)
                after = self._follow(number, numbers, results, event - first_step, 0, path)
            if after not in seen:
                self._add(after, Path(length, index, event))
            event += 1
        self.transitions += event
        now = time.monotonic()
        if now - self._reported > 1:
            self._reported = now
            self.progress(self.depth, self.states, self.transitions, len(self.found))

    def _race(self, index: int) -> list[tuple[int, Path]]:
        """Every step with a message that lands inside: what is new, two steps further."""
        tables, packed, seen = self.tables, self._packed, self._seen
        before = self._keys[index]
        number = before >> packed.shift
        label = packed.labels[number]
        numbers = packed.numbers(before)
        pairs = list(zip(label.members, numbers, strict=True))
        length = self.depth + 2
        new = []
        for step, events in enumerate(self._race_events):
            if tables.steps[step].op in UNRACED:
                continue
            rows = [tables.raced(member, one, step, self._races) for member, one in pairs]
            outcomes = zip(zip(*rows, strict=True), self._race_messages, strict=True)
            for (results, _), event in dict(zip(outcomes, events, strict=True)).items():
                if event == AFTERWARDS:
                    continue
                self.transitions += 1
                path = Path(length, index, event)
                armed = self._armed[event - events[-1 - len(self._messages)]]
                after = self._follow(number, numbers, results, step, armed, path)
                if after not in seen:
                    new.append((after, path))
        return new

    def _follow(
        self,
        number: int,
        numbers: list[int],
        results: tuple[int, ...],
        step: int,
        armed: int,
        path: Path,
    ) -> int:
        """What a step with `results` leads to; notes the divergences."""
        arrivals = [armed] * len(numbers)
        after, mark = self._packed.follow(number, numbers, results, step, arrivals)
        if mark and path.length < self._noted.get(mark, NEVER):
            self._noted[mark] = path.length
            return self._take(path)
        return self._take(path) if after is None else after

    def _take(self, path: Path) -> int:
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

    def _add(self, key: int, path: Path) -> None:
        """Remember a new state."""
        if key in self._seen or key == NOTHING:
            return
        self._seen.add(key)
        self._parents.append(path.parent)
        self._led.append(path.event)
        self._keys.append(key)
        label = key >> self._packed.shift
        if label not in self._latent:
            self._latent.add(label)
            for divergence in self._packed.latents(key):
                self._note(divergence, path)
