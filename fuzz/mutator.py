"""Mutation and crossover of schedules, step by step, with an eye on the automaton.

libFuzzer keeps the inputs that led somewhere new. Most mutations go on from there: they take the
beginning of such an input and add steps, of those that have not been taken yet from the joint vCPU
it leads to where there are some, and races at points that the step will pass. The rest drop, move
and replace steps.
"""

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, TypeVar

from fuzz.alphabet import MESSAGES, usual_words, vector_of
from fuzz.automaton import Automaton, walk
from fuzz.inputs import codes_of, moves_of
from fuzz.schedule_bytes import alphabet, decode_step, encode_step, header, vcpus_of
from variants.machine.points import POINTS
from variants.machine.step import MIN_VCPUS, TO_SELF, Step, Vendor

MAX_STEPS: Final = 16
USUAL: Final = 4
"""How much more often a step is drawn that concerns INIT and SIPI than one that does not."""
DRAWS: Final = 4
"""How often to draw for a step that has not been taken."""

RACING: Final = 0.25
"""How often a message lands inside a step that is added."""
ELSEWHERE: Final = 0.06
"""How often another vCPU acts next."""
POINT_NAMES: Final = tuple(POINTS)

T = TypeVar("T")
Mutate = Callable[[bytes, int, int], bytes]
Note = Callable[[bytes], None]


def code_bytes(code: int) -> bytes:
    return code.to_bytes(2, "little")


def sender_of(vcpus: int, on: int) -> int:
    """The vCPU that sends to `on`: the last one, which has little else to do."""
    return vcpus - 1 if on != vcpus - 1 else 0


@cache
def palette(vendor: Vendor, vcpus: int, on: int) -> tuple[int, ...]:
    """Codes of what vCPU `on` may do or be sent, the usual steps several times."""
    usual = usual_words(vendor)
    drawn: list[int] = []
    for code in alphabet(vendor, MIN_VCPUS):
        step = decode_step(code)
        assert step is not None
        if step.on or step.at:
            continue
        if step.op == "icr":
            if step.to != TO_SELF or step.vector != vector_of(step.mode):
                continue
            word = step.mode
        else:
            word = step.op
        known = word in usual and not set(step.controls) - {"init"}
        drawn += encode_step(step._replace(on=on)) * (USUAL if known else 1)
    for mode in MESSAGES:
        drawn += message(vcpus, on, mode, "") * (2 * USUAL if mode in usual else 1)
    return tuple(drawn)


def message(vcpus: int, on: int, mode: str, point: str) -> tuple[int, ...]:
    """The code of a message to vCPU `on`."""
    return encode_step(Step("icr", sender_of(vcpus, on), on, mode, vector_of(mode), point))


def mutator(
    vendor: Vendor, automaton: Automaton | None = None, note: Note = lambda _: None
) -> Mutate:
    """A mutation function (data, size limit, seed) for schedules of `vendor`.

    automaton: without it, steps and points are drawn blindly. note: called with what is about to
    run, because the automaton tells at once what it finds. The first seed seeds the generator, so
    a run is repeatable.
    """
    moves = moves_of(automaton) if automaton else {}
    generator = random.Random()
    draw = generator.random
    seeded = False

    def pick(some: Sequence[T]) -> T:
        return some[int(draw() * len(some))]

    def racing_mode() -> str:
        r = draw()
        return "init" if r < 0.4 else "sipi" if r < 0.9 else pick(MESSAGES)

    def start_on(vcpus: int) -> int:
        return 1 if draw() < 0.7 else int(draw() * vcpus)

    def grow(automaton: Automaton, data: bytes, more: int) -> bytes:
        """`data` and up to `more` steps, chosen by where it leads."""
        vcpus = vcpus_of(int.from_bytes(data[:2], "little"))
        known = moves[vcpus]
        vm, armed = automaton.start(vcpus), list[int]()
        on = start_on(vcpus)
        note(data)
        for code in codes_of(data)[1:]:
            move = known[code]
            if move is not None:
                walk(vm, armed, move)
                on = move.to[0] if move.to else move.on
        end = min(len(data) + 2 * more, 2 + 2 * MAX_STEPS)
        while len(data) < end:
            if draw() < ELSEWHERE:
                on = int(draw() * vcpus)
            some = palette(vendor, vcpus, on)
            code = pick(some)
            for _ in range(DRAWS):
                if not automaton.taken(vm[on], known.step(code)):
                    break
                code = pick(some)
            move = known.step(code)
            codes = [code]
            if not move.to and not armed and draw() < RACING:
                points = automaton.passed(vm[on], move.action)
                if points:
                    codes[:0] = message(vcpus, on, racing_mode(), pick(points))
            for code in codes:
                data += code_bytes(code)
                note(data)
                walk(vm, armed, known.step(code))
        return data[: 2 + 2 * MAX_STEPS]

    def grow_blindly(data: bytes, more: int) -> bytes:
        """`data` and up to `more` steps."""
        vcpus = vcpus_of(int.from_bytes(data[:2], "little"))
        on = start_on(vcpus)
        for _ in range(more):
            if draw() < RACING:
                (code,) = message(vcpus, on, racing_mode(), pick(POINT_NAMES))
                data += code_bytes(code)
            data += code_bytes(pick(palette(vendor, vcpus, on)))
        return data[: 2 + 2 * MAX_STEPS]

    def mutate(data: bytes, _size: int, seed: int) -> bytes:
        nonlocal seeded
        if not seeded:
            generator.seed(seed)
            seeded = True
        if len(data) < 2:
            data = code_bytes(header(vendor, MIN_VCPUS, 0))
        if draw() < 0.01:
            vcpus = MIN_VCPUS + (draw() < 0.5)
            data = code_bytes(header(vendor, vcpus, 0)) + data[2:]
        steps = len(data) // 2 - 1
        choice = draw()
        at = int(draw() * (steps + 1))
        if choice < 0.6:
            # Near the end more often than not: that is where the input led somewhere new.
            kept = max(at, int(draw() * (steps + 1))) if draw() < 0.5 else steps
            data, more = data[: 2 + 2 * kept], 1 + int(draw() * draw() * 6)
            return grow(automaton, data, more) if automaton else grow_blindly(data, more)
        here, after = 2 + 2 * at, 4 + 2 * at
        if choice < 0.75:
            return data[:here] + data[after + 2 * int(draw() * 2) :]
        if choice < 0.95:
            vcpus = vcpus_of(int.from_bytes(data[:2], "little"))
            piece = code_bytes(pick(palette(vendor, vcpus, start_on(vcpus))))
            rest = data[after:] if choice < 0.85 else data[here:]
            return (data[:here] + piece + rest)[: 2 + 2 * MAX_STEPS]
        start = 2 + 2 * int(draw() * (steps + 1))
        piece = data[start : start + 2 + 2 * int(draw() * 3)]
        return (data[:here] + piece + data[here:])[: 2 + 2 * MAX_STEPS]

    return mutate


def crossover(one: bytes, other: bytes, _size: int, seed: int) -> bytes:
    """The beginning of one schedule and the end of another."""
    first = seed % max(1, len(one) >> 1) << 1
    second = (seed >> 8) % max(1, len(other) >> 1) << 1
    return (one[: first + 2] + other[second + 2 :])[: 2 + 2 * MAX_STEPS]
