"""Exhaustive judging: every rule of the manuals that a variant breaks, with a shortest schedule.

One vCPU that can receive any message at any time stands for all VMs, as in
`fuzz.explore.exhaustive`: what the judge knows of one processor depends on its steps, on what
reached it and on what it showed. So the search is over the states of one vCPU of one variant, each
with the set of states that the judge holds possible.

It does not go on from a breach: what comes after may follow from it. Nor does it go where the
manuals say nothing: the host sets no mp_state, and what an `error` leaves is not judged.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, NewType

from fuzz.compare.compared import Compared
from fuzz.explore.exhaustive import AP, BSP, Prefix, steps
from fuzz.explore.search import Event, Progress
from fuzz.judge.monitor import Ruling, judge_step, received, start
from fuzz.judge.sets import Fits
from fuzz.memory.numbers import NO_ARRIVALS, Numbers, Result, StepId, VcpuId, seen_in, vcpu_of
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import UNRACED, Alphabet
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import initial_vcpu
from variants.machine.step import MIN_VCPUS, Vendor
from variants.machine.vcpu import Irq

UNJUDGED: Final = ("set-mp-state",)
"""Steps after which nearly all is open."""
FITS_BITS: Final = 24
TOLD_EVERY: Final = 1.0
"""Seconds between two calls of a `Progress`."""


class Breach(NamedTuple):
    """A class of breaches: who breaks which rule, and what the processor was doing."""

    vendor: Vendor
    variant: str
    rule: str
    where: str

    def __str__(self) -> str:
        return f"{self.vendor}: breach: {self.variant}: {self.rule}: {self.where}"


class Breaches(NamedTuple):
    """What `breaches` found; the figures are as `fuzz.explore.exhaustive.Explored` has them."""

    states: int
    transitions: int
    depth: int
    fixpoint: bool
    interrupted: bool
    found: dict[Breach, Schedule]


FitsId = NewType("FitsId", int)
Judging = tuple[VcpuId, FitsId]
"""A vCPU's state, and what the judge holds possible."""


class Memory:
    """What is known of steps of one variant and of their judgement."""

    def __init__(self, subject: Compared) -> None:
        self.vendor = subject.vendor
        self.tables = Tables(subject)
        self._fits = Numbers[Fits, FitsId]("sets of states", FITS_BITS)
        self._judged: dict[tuple[object, ...], tuple[FitsId, tuple[Ruling, ...]]] = {}
        self._received: dict[tuple[FitsId, Irq], FitsId] = {}

    def root(self, bsp: bool) -> Judging:
        """Where schedules begin."""
        return self.tables.vcpu_id(initial_vcpu(bsp)), self._fits.of(start(bsp))

    def judges(self, here: Judging) -> bool:
        """Is there anything to judge from here on?"""
        return not any(vcpu.dead for vcpu in self._fits.values[here[1]])

    def receive(self, here: Judging, irq: Irq) -> Judging:
        """A message comes."""
        vcpu, fits = here
        after = self._received.get((fits, irq))
        if after is None:
            after = self._fits.of(received(self.vendor, self._fits.values[fits], *irq))
            self._received[fits, irq] = after
        return self.tables.received(0, vcpu, self.tables.message_id(irq)), after

    def take(
        self, here: Judging, step: StepId, result: Result, irq: Irq | None = None
    ) -> tuple[Judging, tuple[Ruling, ...]]:
        """A step that ends with `result`, in which `irq` has come."""
        fits = here[1]
        key = (fits, step, irq, seen_in(result))
        known = self._judged.get(key)
        if known is None:
            before, shown = self._fits.values[fits], self.tables.observation(result)
            landing = ((irq.mode, irq.vector),) if irq else ()
            judged = judge_step(self.vendor, before, self.tables.step(step), landing, shown)
            known = self._judged[key] = (self._fits.of(judged.fits), judged.rulings)
        return (vcpu_of(result), known[0]), known[1]


class Walk:
    """A breadth-first search on one vCPU. found: by rule and whereabouts, a shortest way to it, as
    the state before and the event."""

    def __init__(
        self, memory: Memory, alphabet: Alphabet, prefix: Prefix, progress: Progress
    ) -> None:
        self.memory = memory
        self.alphabet = alphabet
        self.prefix = prefix
        self.progress = progress
        self.transitions = self.depth = 0
        self.fixpoint = False
        self.found: dict[tuple[str, str], tuple[int, Judging, Event]] = {}
        root = memory.root(bsp=prefix.on == BSP)
        self._led: dict[Judging, tuple[Judging, Event] | None] = {root: None}
        self._levels: defaultdict[int, list[tuple[Judging, Judging, Event]]] = defaultdict(list)
        own = [step for step in alphabet.steps if step.op not in UNJUDGED]
        self._steps = [memory.tables.step_id(step) for step in own]
        self._told = time.monotonic()
        self._level = [root]

    @property
    def states(self) -> int:
        return len(self._led)

    def run(self, max_depth: int | None) -> None:
        """Explore to `max_depth` steps, or until nothing is new."""
        while self._level or self._levels:
            if self.depth == max_depth:
                return
            for here in self._level:
                self._expand(here)
            self.depth += 1
            self._level = []
            for after, here, event in self._levels.pop(self.depth, ()):
                if after not in self._led:
                    self._led[after] = (here, event)
                    self._level.append(after)
        self.fixpoint = True

    def _expand(self, here: Judging) -> None:
        for irq in self.alphabet.messages:
            after = self.memory.receive(here, irq)
            self._go(self.depth + 1, here, Event(None, irq), after, ())
        for step in self._steps:
            result = self.memory.tables.result(0, here[0], step, NO_ARRIVALS)
            taken = self.memory.tables.step(step)
            judged = self.memory.take(here, step, result)
            self._go(self.depth + 1, here, Event(taken, None), *judged)
            if taken.op not in UNRACED:
                self._race(here, step)
        now = time.monotonic()
        if now - self._told > TOLD_EVERY:
            self._told = now
            self.progress(self.depth, self.states, self.transitions, len(self.found))

    def _race(self, here: Judging, step: StepId) -> None:
        """The step with a message that lands at a point which it passes."""
        tables = self.memory.tables
        passed = tables.passed(0, here[0], step) if self.alphabet.points else ()
        for irq in self.alphabet.messages:
            outcomes: dict[Result, str] = {}
            for point in passed:
                arrivals = tables.arrivals_id(((point, irq),))
                outcomes.setdefault(tables.result(0, here[0], step, arrivals), point)
            for result, point in outcomes.items():
                event = Event(tables.step(step), irq, point)
                judged = self.memory.take(here, step, result, irq)
                self._go(self.depth + 2, here, event, *judged)

    def _go(
        self, depth: int, here: Judging, event: Event, after: Judging, rulings: Sequence[Ruling]
    ) -> None:
        """`event` has led to `after`, `depth` steps from the root."""
        self.transitions += 1
        for ruling in rulings:
            known = self.found.get((ruling.rule, ruling.where))
            if known is None or depth < known[0]:
                self.found[ruling.rule, ruling.where] = (depth, here, event)
        if not rulings and after not in self._led and self.memory.judges(after):
            self._levels[depth].append((after, here, event))

    def schedule(self, here: Judging, last: Event) -> Schedule:
        """The schedule that leads to `here` and ends with `last`."""
        events = [last]
        while led := self._led[here]:
            here, event = led
            events.append(event)
        taken = tuple(steps(reversed(events), self.prefix))
        return Schedule(self.memory.vendor, MIN_VCPUS, taken)


def breaches(
    subject: Compared, alphabets: Sequence[Alphabet], max_depth: int | None, progress: Progress
) -> Breaches:
    """Walk the one variant of `subject`, an AP and the BSP, with each of `alphabets`.

    KeyboardInterrupt ends it early, with what was found so far.
    """
    memory, walks = Memory(subject), list[Walk]()
    interrupted = False
    try:
        for alphabet in alphabets:
            for prefix in (Prefix(AP, BSP), Prefix(BSP, AP)):
                walks.append(Walk(memory, alphabet, prefix, progress))
                walks[-1].run(max_depth)
    except KeyboardInterrupt:
        interrupted = True
    return Breaches(
        sum(walk.states for walk in walks),
        sum(walk.transitions for walk in walks),
        max((walk.depth for walk in walks), default=0),
        not interrupted and all(walk.fixpoint for walk in walks),
        interrupted,
        dict(shortest(walks, subject.names[0])),
    )


def shortest(walks: Sequence[Walk], variant: str) -> Iterator[tuple[Breach, Schedule]]:
    """Of each class the shortest schedule, without races if there is one of that length."""
    best: dict[tuple[str, str], tuple[int, Walk]] = {}
    for walk in walks:
        for key, (depth, _, _) in walk.found.items():
            if key not in best or depth < best[key][0]:
                best[key] = (depth, walk)
    for key, (_, walk) in sorted(best.items(), key=lambda one: one[0]):
        _, here, event = walk.found[key]
        yield Breach(walk.memory.vendor, variant, *key), walk.schedule(here, event)
