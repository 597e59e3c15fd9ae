"""A fuzzer's inputs: the codes of a schedule, and how they run.

An input is a header code and step codes (`fuzz.schedule_bytes`). Codes that are no step are left
out, so every input is a schedule.
"""

from fuzz.automaton import Automaton, Move
from fuzz.schedule import Schedule, step_problem
from fuzz.schedule_bytes import decode_step, encode_step, header, pack, prefix_vector, vcpus_of
from variants.machine.step import MAX_VCPUS, MIN_VCPUS, VENDORS, Step


def fuzz_input(schedule: Schedule) -> bytes:
    """`schedule` as a fuzzer's input: codes only."""
    codes = [code for step in schedule.steps for code in encode_step(step)]
    return pack([header(schedule.vendor, schedule.vcpus, len(codes)), *codes])


def schedule_of_input(data: bytes) -> Schedule:
    """The schedule that the target makes of `data`."""
    codes = codes_of(data)
    first = codes[0] if codes else 0
    vendor, vcpus = VENDORS[first & 1], vcpus_of(first)
    steps: list[Step] = []
    vector = None
    for code in codes[1:]:
        if vector is None and (vector := prefix_vector(code)) is not None:
            continue
        step = decode_step(code, vector)
        if step is not None and not step_problem(step, vendor, vcpus):
            steps.append(step)
        vector = None
    return Schedule(vendor, vcpus, tuple(steps))


def codes_of(data: bytes) -> memoryview:
    """The codes of an input; an odd byte at its end is left out."""
    return memoryview(data[: len(data) & ~1]).cast("H")


class Moves(dict[int, Move | None]):
    """The moves of step codes; None for codes that are no step of this VM's."""

    def __init__(self, automaton: Automaton, vcpus: int) -> None:
        self.automaton = automaton
        self.vcpus = vcpus

    def __missing__(self, code: int) -> Move | None:
        move = self[code] = self.decode(code, None)
        return move

    def step(self, code: int) -> Move:
        """The move of a code that is a step."""
        move = self[code]
        assert move is not None
        return move

    def decode(self, code: int, vector: int | None) -> Move | None:
        """The move of `code`, with the vector of a prefix if there was one."""
        step = decode_step(code, vector)
        if step is None or step_problem(step, self.automaton.compared.vendor, self.vcpus):
            return None
        return self.automaton.move(step, self.vcpus)


def moves_of(automaton: Automaton) -> dict[int, Moves]:
    """The moves of step codes by the number of vCPUs."""
    return {vcpus: Moves(automaton, vcpus) for vcpus in range(MIN_VCPUS, MAX_VCPUS + 1)}
