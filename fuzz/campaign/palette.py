"""The codes that inputs are made of: which there are to draw from, and which may stand together."""

from functools import cache
from typing import Final

from fuzz.schedule.alphabet import MESSAGES, UNRACED, families_of, vector_of
from fuzz.schedule.codes import alphabet, codes_of, decode_step, encode_step, vcpus_of
from variants.machine.step import MIN_VCPUS, TO_SELF, Step, Vendor

HEADER_BYTES: Final = 2
CODE_BYTES: Final = 2
RACE: Final = "race"
"""The family of `at` steps."""
MESSAGE_WEIGHT: Final = 2
"""How much more often a message is drawn than a step."""


def code_bytes(code: int) -> bytes:
    return code.to_bytes(CODE_BYTES, "little")


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
    vcpus = vcpus_of(int.from_bytes(data[:HEADER_BYTES], "little"))
    kept: frozenset[str] = frozenset()
    chosen = [data[:HEADER_BYTES]]
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
        drawn += message(vcpus, on, mode, "") * MESSAGE_WEIGHT
    return tuple(code for code in drawn if family is None or families(code) <= {family})


def message(vcpus: int, on: int, mode: str, point: str) -> tuple[int, ...]:
    """The code of a message to vCPU `on`."""
    return encode_step(Step("icr", sender_of(vcpus, on), on, mode, vector_of(mode), point))


def steps_in(data: bytes) -> int:
    """How many codes follow the header."""
    return max(0, len(data) - HEADER_BYTES) // CODE_BYTES


def beginning(data: bytes, steps: int) -> bytes:
    """The header and the first `steps` codes of an input."""
    return data[: HEADER_BYTES + CODE_BYTES * steps]


def rest(data: bytes, steps: int) -> bytes:
    """The codes of an input after the first `steps`."""
    return data[HEADER_BYTES + CODE_BYTES * steps :]
