"""Mutation and crossover of schedules, step by step, with an eye on the automaton.

Most mutations go on from joint vCPUs that nobody has gone on from, in every way there is
(`fuzz.campaign.frontier`): these inputs are run here, and libFuzzer gets those that led to new
outlines. Others take the beginning of an input of libFuzzer's, which keeps what led somewhere
new, and add steps, of those that have not been taken yet where there are some, and races that
differ. The rest drop, move and replace steps.

Unless told to mix, an input stays within what `eventdiff explore` explores to the end: beside the
usual steps it has races, or NMIs, or SMIs, or interrupts, and one message lands in a step.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from fuzz.campaign.frontier import Frontier, Start
from fuzz.campaign.palette import (
    CODE_BYTES,
    HEADER_BYTES,
    RACE,
    beginning,
    code_bytes,
    families,
    message,
    palette,
    rest,
    steps_in,
    unmixed,
    unraced,
)
from fuzz.campaign.walker import Walker
from fuzz.schedule.alphabet import FAMILIES, MESSAGES
from fuzz.schedule.codes import codes_of, decode_step, header, vcpus_of
from variants.machine.points import POINTS
from variants.machine.step import MIN_VCPUS, Vendor

MAX_STEPS: Final = 16
NEW_HEADER: Final = 0.01
"""How often to give an input another number of vCPUs."""
THREE_VCPUS: Final = 0.5
GROWN: Final = 0.85
"""How often to go on with an input rather than change it anywhere."""
FRONTIER: Final = 0.9
"""How often from one of the mutator's own, rather than from the beginning of libFuzzer's."""
LATENT: Final = 0.8
"""How often that beginning is one after which variants differ inside, if there is one."""
KEPT_WHOLE: Final = 0.5
"""How often it is all of it, else."""
MOST_ADDED: Final = 6
"""How many steps to add."""
DROPPED: Final = 0.4
REPLACED: Final = 0.25
INSERTED: Final = 0.25
"""How often a change drops, replaces and inserts steps; else it repeats some."""
ON_AN_AP: Final = 0.7
"""How often an input begins on vCPU 1."""
OTHER_VCPU: Final = 0.06
"""How often another vCPU acts next."""
TRIES: Final = 12
"""How often to draw for a step that has not been taken."""
RACING: Final = 0.7
"""How often a message may land inside a step that is added."""
INIT_AND_SIPI: Final = ("init", "sipi")
RACING_INIT: Final = 0.4
RACING_SIPI: Final = 0.5
"""How often it is INIT, and SIPI, where it is drawn blindly."""
CROSSED: Final = 4
"""Of so many crossovers one is made: libFuzzer asks for as many as for mutations."""
CALM_FAMILIES: Final = ("", *FAMILIES)
LARGEST_FIRST: Final = ("NMI", RACE, "SMI", "interrupts", "")
"""All of them, by how many joint vCPUs of VMX there are."""
DRAWN_FAMILIES: Final = (RACE,) * 6 + CALM_FAMILIES
"""What an input gets beside the usual steps that has nothing yet."""
ALL_POINTS: Final = tuple(POINTS)

T = TypeVar("T")
Mutation = Callable[[bytes, int, int], bytes]
Crossover = Callable[[bytes, bytes, int, int], bytes]
Note = Callable[[bytes], None]


def families_in_turn(mix: bool, races: bool, turn: int) -> list[tuple[str | None, ...]]:
    """What the frontier of the mutator number `turn` goes through: the first takes all in turns,
    the second the two largest first, the others one after the other, each from another one on."""
    if mix:
        return [(None,)]
    every = tuple(family for family in LARGEST_FIRST if races or family != RACE)
    if turn == 0:
        return [every]
    if turn == 1:
        return [every[:2], *((family,) for family in every[2:])]
    first = (turn - 2) % len(every)
    return [(family,) for family in every[first:] + every[:first]]


class Mutator:
    """Mutates schedules of `vendor`. The first seed given seeds it, so a run is repeatable.

    walker: without it, steps and points are drawn blindly. note: called with what is about to be
    walked, because the automaton tells at once what it finds. tried: the same for inputs that the
    mutator runs itself. mix: do not keep inputs `unmixed`. races: whether to add messages that land
    in a step. turn: how many others fuzz the same; from 2 on it begins with a family of its own.
    """

    def __init__(
        self,
        vendor: Vendor,
        walker: Walker | None = None,
        note: Note = lambda _: None,
        tried: Note = lambda _: None,
        mix: bool = False,
        races: bool = True,
        turn: int = 0,
    ) -> None:
        self.vendor = vendor
        self.note = note
        self.mix = mix
        self.races = races
        self._random = random.Random()
        self._draw = self._random.random
        self._seeded = False
        modes = (MESSAGES if mix else INIT_AND_SIPI) if races else ()
        self.frontier: Frontier | None = None
        if walker:
            some = families_in_turn(mix, races, turn)
            self.frontier = Frontier(vendor, walker, some, modes, MAX_STEPS, note, tried)

    def __call__(self, data: bytes, _size: int, seed: int) -> bytes:
        """A mutation of `data`."""
        if not self._seeded:
            self._random.seed(seed)
            self._seeded = True
        if len(data) < HEADER_BYTES or self._draw() < NEW_HEADER:
            vcpus = MIN_VCPUS + (self._draw() < THREE_VCPUS)
            data = code_bytes(header(self.vendor, vcpus, 0)) + data[HEADER_BYTES:]
            data = data if self.mix else unmixed(data)
        if self._draw() >= GROWN:
            data = beginning(self._changed(data), MAX_STEPS)
            return data if self.mix else unmixed(data)
        frontier = self.frontier
        if frontier and self._draw() < FRONTIER and (tried := frontier.go_on(self._random)):
            return tried
        begun = beginning(data, self._kept(data))
        # Few steps more often than many.
        more = 1 + int(self._draw() * self._draw() * MOST_ADDED)
        return self._grown(frontier, begun, more) if frontier else self._grown_blindly(begun, more)

    def _kept(self, data: bytes) -> int:
        """How many steps of `data` to go on from."""
        steps = steps_in(data)
        if self.frontier and self._draw() < LATENT:
            self.note(data)
            if some := self.frontier.walker.latent(data, MAX_STEPS):
                return self._pick(some)
        if steps < MAX_STEPS and self._draw() < KEPT_WHOLE:
            return steps
        # Near the end more often than not: that is where the input led somewhere new.
        return max(self._below(steps), self._below(steps))

    def _below(self, bound: int) -> int:
        return int(self._draw() * bound)

    def _pick(self, some: Sequence[T]) -> T:
        return some[self._below(len(some))]

    def _racing_mode(self) -> str:
        """The ICR mode of a message that lands in a step."""
        drawn = self._draw()
        if drawn < RACING_INIT:
            return "init"
        return "sipi" if drawn < RACING_INIT + RACING_SIPI or not self.mix else self._pick(MESSAGES)

    def _family_of(self, data: bytes) -> str | None:
        """What `data` may have beside the usual steps; None for anything."""
        if self.mix:
            return None
        for code in codes_of(data)[1:]:
            if some := families(code):
                return min(some)
        return self._pick(DRAWN_FAMILIES if self.races else CALM_FAMILIES)

    def _start_on(self, vcpus: int) -> int:
        return 1 if self._draw() < ON_AN_AP else self._below(vcpus)

    def _goes_on_with(self, data: bytes, vcpus: int) -> int:
        """The vCPU that acts after `data`: that of its last step, or whom that sends to."""
        last = decode_step(codes_of(data)[-1]) if steps_in(data) else None
        on = -1 if last is None else last.to if last.op == "icr" else last.on
        return on if 0 <= on < vcpus else self._start_on(vcpus)

    def _grown(self, frontier: Frontier, data: bytes, more: int) -> bytes:
        """`data` and up to `more` steps, chosen by where it leads."""
        walker = frontier.walker
        family = self._family_of(data)
        self.note(data)
        walker.walk(data)
        vcpus = len(walker.vm)
        on = self._goes_on_with(data, vcpus)
        end = min(steps_in(data) + more, MAX_STEPS)
        last = codes_of(data)[-1] if steps_in(data) else 0
        while steps_in(data) < end:
            if self._draw() < OTHER_VCPU:
                on = self._below(vcpus)
            # A message that was not sent in this VM waits for nothing, but may in another's.
            waiting = bool(walker.waiting) or RACE in families(last)
            codes = self._next(frontier, on, family, waiting)
            if waiting and unraced(codes[0]):
                continue
            for code in codes:
                data += code_bytes(code)
                self.note(data)
                walker.step(code)
            last = codes[-1]
            if RACE in families(last):
                continue
            # A latent difference on another vCPU would hide what comes here.
            if not any(node.latent for number, node in enumerate(walker.vm) if number != on):
                frontier.put(walker.vm[on], Start(data, on, family))
        return beginning(data, MAX_STEPS)

    def _next(
        self, frontier: Frontier, on: int, family: str | None, waiting: bool
    ) -> tuple[int, ...]:
        """A step for vCPU `on`, not taken from here yet if there is one. Where the first one drawn
        has been taken, a message may land in the next, if none waits to."""
        walker = frontier.walker
        some = palette(self.vendor, len(walker.vm), on, family)
        racing = family in (RACE, None) and not waiting and self._draw() < RACING
        codes: tuple[int, ...] = (self._pick(some),)
        for _ in range(TRIES):
            if walker.known(on, codes) is None:
                break
            codes = (self._pick(some),)
            if racing and not walker.move(codes[0]).to and not unraced(codes[0]):
                moved = walker.move(codes[0]).action
                places = walker.automaton.races(walker.vm[on], moved, frontier.messages)
                if places:
                    point, irq = self._pick(places)
                    codes = message(len(walker.vm), on, irq.mode, point) + codes
        return codes

    def _grown_blindly(self, data: bytes, more: int) -> bytes:
        """`data` and up to `more` steps."""
        vcpus = vcpus_of(int.from_bytes(data[:HEADER_BYTES], "little"))
        on, family = self._start_on(vcpus), self._family_of(data)
        racing = self.races and family in (RACE, None)
        for number in range(more):
            if racing and number and self._draw() < RACING:
                (code,) = message(vcpus, on, self._racing_mode(), self._pick(ALL_POINTS))
                data += code_bytes(code)
            data += code_bytes(self._pick(palette(self.vendor, vcpus, on, family)))
        return beginning(data, MAX_STEPS)

    def _changed(self, data: bytes) -> bytes:
        """`data` with steps dropped, replaced, added or repeated anywhere."""
        choice = self._draw()
        steps = steps_in(data)
        here = self._below(steps + 1)
        before = beginning(data, here)
        if choice < DROPPED:
            return before + rest(data, here + 1 + self._below(2))
        if choice < DROPPED + REPLACED + INSERTED:
            vcpus = vcpus_of(int.from_bytes(data[:HEADER_BYTES], "little"))
            some = palette(self.vendor, vcpus, self._start_on(vcpus), self._family_of(data))
            after = here + 1 if choice < DROPPED + REPLACED else here
            return before + code_bytes(self._pick(some)) + rest(data, after)
        start = self._below(steps + 1)
        repeated = rest(beginning(data, start + 1 + self._below(3)), start)
        return before + repeated + rest(data, here)


def seldom(crossover: Crossover, mutate: Mutation) -> Crossover:
    """A crossover function that mostly mutates, as finds more."""

    def crossed(one: bytes, other: bytes, size: int, seed: int) -> bytes:
        if (seed >> 16) % CROSSED:
            return mutate(one, size, seed)
        return crossover(one, other, size, seed)

    return crossed


def crossover_of(mix: bool) -> Crossover:
    """A crossover function: the beginning of one schedule and the end of another."""

    def crossover(one: bytes, other: bytes, _size: int, seed: int) -> bytes:
        first = seed % max(1, len(one) // CODE_BYTES)
        second = (seed >> 8) % max(1, len(other) // CODE_BYTES)
        data = beginning(beginning(one, first) + rest(other, second), MAX_STEPS)
        return data if mix else unmixed(data)

    return crossover
