"""Mutation and crossover of schedules, step by step, with an eye on the automaton.

libFuzzer keeps the inputs that led somewhere new. Most mutations go on from there: they take the
beginning of such an input and add steps, of those that have not been taken yet from the joint vCPU
it leads to where there are some, and races at points that the step will pass. The rest drop, move
and replace steps.

Unless told to mix, an input stays within what `eventdiff explore` explores to the end: beside the
usual steps it has races, or NMIs, or SMIs, or interrupts, and one message lands in a step.
"""

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, TypeVar

from fuzz.campaign.walker import Walker
from fuzz.schedule.alphabet import FAMILIES, MESSAGES, UNRACED, families_of, vector_of
from fuzz.schedule.codes import alphabet, codes_of, decode_step, encode_step, header, vcpus_of
from variants.machine.points import POINTS
from variants.machine.step import MIN_VCPUS, TO_SELF, Step, Vendor

MAX_STEPS: Final = 16
MESSAGE: Final = 2
"""How much more often a message is drawn than a step."""
DRAWS: Final = 4
"""How often to draw for a step that has not been taken."""
RACE: Final = "race"
"""The family of `at` steps."""
DRAWN: Final = (RACE,) * 6 + ("", *FAMILIES)
"""What an input gets beside the usual steps that has nothing yet."""
RACING: Final = 0.4
"""How often a message may land inside a step that is added."""
ELSEWHERE: Final = 0.06
"""How often another vCPU acts next."""
POINT_NAMES: Final = tuple(POINTS)

T = TypeVar("T")
Mutate = Callable[[bytes, int, int], bytes]
Crossover = Callable[[bytes, bytes, int, int], bytes]
Note = Callable[[bytes], None]


def code_bytes(code: int) -> bytes:
    return code.to_bytes(2, "little")


def sender_of(vcpus: int, on: int) -> int:
    """The vCPU that sends to `on`: the last one, which has little else to do."""
    return vcpus - 1 if on != vcpus - 1 else 0


@cache
def families(code: int) -> frozenset[str]:
    """What besides the usual steps the step of `code` belongs to."""
    step = decode_step(code)
    if step is None:
        return frozenset()
    return families_of(step) | ({RACE} if step.at else set())


def unmixed(data: bytes) -> bytes:
    """An input without what is of another family than the rest, without second messages that land
    in one step, and without messages that land where none can."""
    vcpus = vcpus_of(int.from_bytes(data[:2], "little"))
    kept: frozenset[str] = frozenset()
    chosen = [data[:2]]
    raced = False
    for code in codes_of(data)[1:]:
        some = families(code)
        if some:
            if len(kept | some) > 1 or (raced and RACE in some):
                continue
            kept |= some
        if (step := decode_step(code)) and max(step.on, step.to) < vcpus:
            if raced and step.op in UNRACED:
                continue
            raced = RACE in some
        chosen.append(code_bytes(code))
    return b"".join(chosen)


@cache
def unraced(code: int) -> bool:
    """Can no message land in the step of `code`?"""
    step = decode_step(code)
    return step is not None and step.op in UNRACED


@cache
def palette(vendor: Vendor, vcpus: int, on: int, family: str | None) -> tuple[int, ...]:
    """Codes of what vCPU `on` may do or be sent; of the families only `family`, all if it is
    None."""
    drawn: list[int] = []
    for code in alphabet(vendor, MIN_VCPUS):
        step = decode_step(code)
        assert step is not None
        if step.on or step.at:
            continue
        if step.op == "icr" and (step.to != TO_SELF or step.vector != vector_of(step.mode)):
            continue
        drawn += encode_step(step._replace(on=on))
    for mode in MESSAGES:
        drawn += message(vcpus, on, mode, "") * MESSAGE
    return tuple(code for code in drawn if family is None or families(code) <= {family})


def message(vcpus: int, on: int, mode: str, point: str) -> tuple[int, ...]:
    """The code of a message to vCPU `on`."""
    return encode_step(Step("icr", sender_of(vcpus, on), on, mode, vector_of(mode), point))


def mutator(
    vendor: Vendor,
    walker: Walker | None = None,
    note: Note = lambda _: None,
    mix: bool = False,
) -> Mutate:
    """A mutation function (data, size limit, seed) for schedules of `vendor`.

    walker: without it, steps and points are drawn blindly. note: called with what is about to
    run, because the automaton tells at once what it finds. mix: do not keep inputs `unmixed`. The
    first seed seeds the generator, so a run is repeatable.
    """
    generator = random.Random()
    draw = generator.random
    seeded = False

    def pick(some: Sequence[T]) -> T:
        return some[int(draw() * len(some))]

    def racing_mode() -> str:
        r = draw()
        return "init" if r < 0.4 else "sipi" if r < 0.9 or not mix else pick(MESSAGES)

    def family_of(data: bytes) -> str | None:
        """What `data` may have beside the usual steps; None for anything."""
        if mix:
            return None
        for code in codes_of(data)[1:]:
            if some := families(code):
                return min(some)
        return pick(DRAWN)

    def start_on(vcpus: int) -> int:
        return 1 if draw() < 0.7 else int(draw() * vcpus)

    def grow(walker: Walker, data: bytes, more: int) -> bytes:
        """`data` and up to `more` steps, chosen by where it leads."""
        family = family_of(data)
        note(data)
        walker.walk(data)
        automaton, vm, vcpus = walker.automaton, walker.vm, len(walker.vm)
        last = decode_step(int.from_bytes(data[-2:], "little")) if len(data) > 2 else None
        on = -1 if last is None else last.to if last.op == "icr" else last.on
        if not 0 <= on < vcpus:
            on = start_on(vcpus)
        end = min(len(data) + 2 * more, 2 + 2 * MAX_STEPS)
        while len(data) < end:
            if draw() < ELSEWHERE:
                on = int(draw() * vcpus)
            some = palette(vendor, vcpus, on, family)
            racing = family in (RACE, None) and not walker.armed and draw() < RACING
            codes: tuple[int, ...] = (pick(some),)
            for _ in range(DRAWS):
                if not walker.taken(on, codes):
                    break
                codes = (pick(some),)
                if racing and not walker.move(codes[0]).to and not unraced(codes[0]):
                    points = automaton.passed(vm[on], walker.move(codes[0]).action)
                    codes = message(vcpus, on, racing_mode(), pick(points or POINT_NAMES)) + codes
            if walker.armed and unraced(codes[0]):
                continue
            for code in codes:
                data += code_bytes(code)
                note(data)
                walker.step(code)
        return data[: 2 + 2 * MAX_STEPS]

    def grow_blindly(data: bytes, more: int) -> bytes:
        """`data` and up to `more` steps."""
        vcpus = vcpus_of(int.from_bytes(data[:2], "little"))
        on, family = start_on(vcpus), family_of(data)
        for number in range(more):
            if family in (RACE, None) and number and draw() < RACING:
                (code,) = message(vcpus, on, racing_mode(), pick(POINT_NAMES))
                data += code_bytes(code)
            data += code_bytes(pick(palette(vendor, vcpus, on, family)))
        return data[: 2 + 2 * MAX_STEPS]

    def change(data: bytes) -> bytes:
        """`data` with steps dropped, replaced, added or repeated anywhere."""
        choice = draw()
        steps = len(data) // 2 - 1
        here = 2 + 2 * int(draw() * (steps + 1))
        if choice < 0.4:
            return data[:here] + data[here + 2 + 2 * int(draw() * 2) :]
        if choice < 0.9:
            vcpus = vcpus_of(int.from_bytes(data[:2], "little"))
            some = palette(vendor, vcpus, start_on(vcpus), family_of(data))
            rest = data[here + 2 :] if choice < 0.65 else data[here:]
            return data[:here] + code_bytes(pick(some)) + rest
        start = 2 + 2 * int(draw() * (steps + 1))
        return data[:here] + data[start : start + 2 + 2 * int(draw() * 3)] + data[here:]

    def mutate(data: bytes, _size: int, seed: int) -> bytes:
        nonlocal seeded
        if not seeded:
            generator.seed(seed)
            seeded = True
        if len(data) < 2 or draw() < 0.01:
            vcpus = MIN_VCPUS + (draw() < 0.5)
            data = code_bytes(header(vendor, vcpus, 0)) + data[2:]
            data = data if mix else unmixed(data)
        if draw() < 0.6:
            # Near the end more often than not: that is where the input led somewhere new.
            steps = len(data) // 2 - 1
            kept = steps if draw() < 0.5 else max(int(draw() * steps), int(draw() * steps))
            data, more = data[: 2 + 2 * kept], 1 + int(draw() * draw() * 6)
            return grow(walker, data, more) if walker else grow_blindly(data, more)
        data = change(data)[: 2 + 2 * MAX_STEPS]
        return data if mix else unmixed(data)

    return mutate


def crossover_of(mix: bool) -> Crossover:
    """A crossover function: the beginning of one schedule and the end of another."""

    def crossover(one: bytes, other: bytes, _size: int, seed: int) -> bytes:
        first = seed % max(1, len(one) >> 1) << 1
        second = (seed >> 8) % max(1, len(other) >> 1) << 1
        data = (one[: first + 2] + other[second + 2 :])[: 2 + 2 * MAX_STEPS]
        return data if mix else unmixed(data)

    return crossover
