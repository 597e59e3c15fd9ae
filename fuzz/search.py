"""A breadth-first search over the joint states of one vCPU.

A joint vCPU is kept as one number, and of how it was reached only its parent and the event that
led here. Most steps make all variants the same thing, or leave them as unequal as they were:
that takes a few look-ups in `fuzz.tables`. Where variants come to differ, `fuzz.joint` says how.
"""

import time
from array import array
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from fuzz.compared import Group
from fuzz.joint import JointVcpu, Taken, latents, receive, split, take
from fuzz.signature import Divergence, own_cause
from fuzz.tables import OBSERVED, OBSERVED_BITS, Tables
from variants.machine.machine import Arrivals
from variants.machine.step import Step
from variants.machine.vcpu import Irq

NUMBER_BITS: Final = 24
NUMBER: Final = (1 << NUMBER_BITS) - 1
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


class Split(NamedTuple):
    """What observations do to the groups of a label. pairs: the two variants that name the split
    of each group that splits. after: the label left, None if nothing is. members: places of those
    left among the members."""

    pairs: tuple[tuple[int, int], ...]
    after: int | None
    members: tuple[int, ...]


class Label(NamedTuple):
    """What a joint vCPU is apart from its states. members: those still compared. base: the
    label's part of a key. plain: that of the label with these groups and no causes. ones: what
    a state's number is multiplied with if it is every member's."""

    groups: tuple[Group, ...]
    causes: tuple[tuple[int, int, str], ...]
    members: tuple[int, ...]
    base: int
    plain: int
    ones: int


class Search:
    """The search from `root`, and what it has found.

    found: the divergence classes, each with a shortest path to it; a latent one's ends at the
    state that is unequal inside. groups: likewise, what remains of the groups after splits.
    transitions: steps and messages taken so far.
    """

    def __init__(self, tables: Tables, root: JointVcpu, progress: Progress) -> None:
        self.tables = tables
        self.progress = progress
        self.transitions = 0
        self.depth = 0
        self.fixpoint = False
        self.found: dict[str, tuple[Divergence, Path]] = {}
        self.groups: dict[tuple[Group, ...], Path] = {}
        self._shift = len(tables.compared.names) * NUMBER_BITS
        self._labels: list[Label] = []
        self._label_numbers: dict[object, int] = {}
        self._relabelled: dict[tuple[int, tuple[bool, ...]], int | None] = {}
        self._splits: dict[tuple[int, tuple[int, ...]], Split] = {}
        self._noted: dict[tuple[int, tuple[int, ...], tuple[str, ...]], int] = {}
        self._own: dict[tuple[int, ...], str] = {}
        self._keys: list[int] = []
        self._seen: set[int] = set()
        self._parents = array("L")
        self._led = array("L")
        alphabet = tables.alphabet
        self._events = [Event(None, irq) for irq in alphabet.messages]
        self._events += [Event(step, None) for step in alphabet.steps]
        self._raced: list[dict[str, range]] = []
        for step in alphabet.steps:
            events = {}
            for point in alphabet.points:
                first = len(self._events)
                self._events += [Event(step, irq, point) for irq in alphabet.messages]
                events[point] = range(first, len(self._events))
            self._raced.append(events)
        self._reported = time.monotonic()
        self._add(self._key(root), Path(0, 0, 0))

    @property
    def states(self) -> int:
        """How many joint vCPUs have been reached."""
        return len(self._keys)

    def run(self, max_depth: int | None, until: Callable[[], bool] = lambda: False) -> None:
        """Explore to `max_depth` steps, until nothing is new, or a level ends with `until`."""
        level, late = range(self.states), list[tuple[int, Path]]()
        while (level or late) and (max_depth is None or self.depth < max_depth) and not until():
            first = self.states
            later: list[tuple[int, Path]] = []
            for index in level:
                self._expand(index)
                if self.tables.alphabet.points and (not max_depth or self.depth + 1 < max_depth):
                    later += self._race(index)
            for key, path in late:
                self._add(key, path)
            self.depth += 1
            level, late = range(first, self.states), later
        self.fixpoint = not level and not late

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
        label = self._labels[self._keys[index] >> self._shift]
        vcpus = [
            self.tables.vcpus[self._number(index, n)] if n in label.members else None
            for n in range(len(self.tables.compared.names))
        ]
        return JointVcpu(label.groups, tuple(vcpus), label.causes, ((),) * len(vcpus))

    def _expand(self, index: int) -> None:
        """Let every message arrive at, and every step be taken by, the state at `index`."""
        tables, seen = self.tables, self._seen
        number = self._keys[index] >> self._shift
        label = self._labels[number]
        numbers = [self._number(index, member) for member in label.members]
        received = [tables.received(one) for one in numbers]
        length = self.depth + 1
        event = 0
        for afters in zip(*received, strict=True):
            key = self._join(number, afters)
            if key is not None and key not in seen:
                self._add(key, Path(length, index, event))
            event += 1
        rows = [tables.row(member, n) for member, n in zip(label.members, numbers, strict=True)]
        members = len(numbers)
        key = None
        for results in zip(*rows, strict=True):
            first = results[0]
            if results.count(first) == members:
                key = label.plain | (first >> OBSERVED_BITS) * label.ones
            else:
                key = self._follow(number, results, Path(length, index, event))
            if key is not None and key not in seen:
                self._add(key, Path(length, index, event))
            event += 1
        self.transitions += event
        now = time.monotonic()
        if now - self._reported > 1:
            self._reported = now
            self.progress(self.depth, self.states, self.transitions, len(self.found))

    def _race(self, index: int) -> list[tuple[int, Path]]:
        """Every step with a message that lands inside: what is new, two steps further."""
        tables = self.tables
        number = self._keys[index] >> self._shift
        label = self._labels[number]
        pairs = [(member, self._number(index, member)) for member in label.members]
        passed = [tables.passed(member, one) for member, one in pairs]
        new = []
        for action, events in enumerate(self._raced):
            met: set[tuple[int, ...]] = set()
            for point in dict.fromkeys(point for one in passed for point in one[action]):
                for message, event in enumerate(events.get(point, ())):
                    self.transitions += 1
                    results = tuple(
                        [tables.race(member, n, action, point, message) for member, n in pairs]
                    )
                    if results in met:
                        continue
                    met.add(results)
                    path = Path(self.depth + 2, index, event)
                    key = self._follow(number, results, path)
                    if key is not None and key not in self._seen:
                        new.append((key, path))
        return new

    def _follow(self, number: int, results: Sequence[int], path: Path) -> int | None:
        """The key after a step with `results`; None if nothing is left to compare."""
        label = self._labels[number]
        observed = tuple([result & OBSERVED for result in results])
        known = self._splits.get((number, observed))
        if known is None:
            known = self._splits[number, observed] = self._split(label, observed)
        if known.pairs:
            causes = tuple([self._own_cause(path, i, j) for i, j in known.pairs])
            mark = (number, observed, causes)
            if path.length < self._noted.get(mark, NEVER):
                self._noted[mark] = path.length
                return self._take(path)
        if known.after is None:
            return None
        states = [results[n] >> OBSERVED_BITS for n in known.members]
        key = self._join(known.after, states)
        return self._take(path) if key is None else key

    def _own_cause(self, path: Path, i: int, j: int) -> str:
        """The cause of what variants i and j show in the last event of `path`, if it lies there."""
        one, other = self._number(path.parent, i), self._number(path.parent, j)
        key = (path.event, i, j, one, other)
        cause = self._own.get(key)
        if cause is None:
            step, irq, point = self._events[path.event]
            assert step is not None
            arrivals: Arrivals = ((point, irq),) if irq else ()
            vcpus = self.tables.vcpus[one], self.tables.vcpus[other]
            compared = self.tables.compared
            cause = own_cause(compared, i, j, vcpus, step, (arrivals, arrivals))
            self._own[key] = cause
        return cause

    def _split(self, label: Label, observed: tuple[int, ...]) -> Split:
        """What observations do to the groups of `label`."""
        seen = dict(zip(label.members, observed, strict=True))
        parts = [split(group, seen.__getitem__) for group in label.groups]
        groups = tuple(part for some in parts for part in some if len(part) > 1)
        left = {pair for group in groups for pair in combinations(group, 2)}
        causes = tuple(one for one in label.causes if one[:2] in left)
        after = self._label(groups, causes) if groups else None
        members = tuple(n for n, m in enumerate(label.members) if any(m in g for g in groups))
        pairs = tuple((some[0][0], some[1][0]) for some in parts if len(some) > 1)
        return Split(pairs, after, members)

    def _join(self, number: int, numbers: Sequence[int]) -> int | None:
        """The key of these states of the members; None if some differ that did not before."""
        label = self._labels[number]
        first = numbers[0]
        if all(other == first for other in numbers):
            return label.plain | first * label.ones
        unequal = tuple(one != other for one, other in combinations(numbers, 2))
        if (number, unequal) not in self._relabelled:
            self._relabelled[number, unequal] = self._relabel(label, numbers)
        after = self._relabelled[number, unequal]
        if after is None:
            return None
        key = self._labels[after].base
        for member, one in zip(label.members, numbers, strict=True):
            key |= one << member * NUMBER_BITS
        return key

    def _relabel(self, label: Label, numbers: Sequence[int]) -> int | None:
        state = dict(zip(label.members, numbers, strict=True))
        pairs = {(i, j) for group in label.groups for i, j in combinations(group, 2)}
        unequal = {(i, j) for i, j in pairs if state[i] != state[j]}
        causes = tuple(one for one in label.causes if one[:2] in unequal)
        return self._label(label.groups, causes) if len(causes) == len(unequal) else None

    def _take(self, path: Path) -> int | None:
        """Take a step the long way: variants that were alike may now differ."""
        after, divergences, _ = self._taken(path)
        for divergence in divergences:
            self._note(divergence, path)
        if divergences:
            known = self.groups.get(after.groups)
            if known is None or path.length < known.length:
                self.groups[after.groups] = path
        return self._key(after) if after.groups else None

    def _note(self, divergence: Divergence, path: Path) -> None:
        known = self.found.get(divergence.signature)
        if known is None or path.length < known[1].length:
            self.found[divergence.signature] = (divergence, path)

    def _add(self, key: int, path: Path) -> None:
        """Remember a new state."""
        if key in self._seen:
            return
        self._seen.add(key)
        self._parents.append(path.parent)
        self._led.append(path.event)
        self._keys.append(key)
        if self._labels[key >> self._shift].causes:
            for divergence in latents(self.tables.compared, (self.joint_vcpu(self.states - 1),)):
                self._note(divergence, path)

    def _number(self, index: int, member: int) -> int:
        return self._keys[index] >> member * NUMBER_BITS & NUMBER

    def _key(self, vcpu: JointVcpu) -> int:
        key = self._labels[self._label(vcpu.groups, vcpu.causes)].base
        for member, state in enumerate(vcpu.vcpus):
            if state is not None:
                key |= self.tables.number(state) << member * NUMBER_BITS
        return key

    def _label(self, groups: tuple[Group, ...], causes: tuple[tuple[int, int, str], ...]) -> int:
        number = self._label_numbers.get((groups, causes))
        if number is None:
            plain = self._labels[self._label(groups, ())].base if causes else None
            members = tuple(member for group in groups for member in group)
            number = self._label_numbers[groups, causes] = len(self._labels)
            base = number << self._shift
            ones = sum(1 << member * NUMBER_BITS for member in members)
            label = Label(groups, causes, members, base, base if plain is None else plain, ones)
            self._labels.append(label)
        return number
