"""Schedules as bytes, for libFuzzer: 16-bit little-endian codes, one a step.

The first code is a header (vendor, number of vCPUs, number of codes that follow). A vector that
is not in the small palette takes a prefix code before its `icr`. After the codes, name and
about may follow, each ended by a NUL. Every 16-bit value is a code or is left out, so any mutation
of the codes is again a schedule.

    header   nnnnnnnn nnnnnvvV   n: codes, v: vCPUs - 2, V: 1 for vmx
    icr      1pppppmm mttteeff   p: 0 or preemption point, m: mode, t: to, e: vector, f: from
    others   00ooooo0 nnaaaaaa   o: op, n: on, a: argument
    prefix   01000000 vvvvvvvv   v: the vector of the next code
"""

from functools import cache
from typing import Final

from fuzz.schedule.order import POINT_ORDER
from fuzz.schedule.schedule import Schedule, ScheduleError, block_of, check, step_problem
from variants.machine.step import (
    ACTIVITIES,
    EXITING,
    ICR_MODES,
    INTERCEPTS,
    MAX_VCPUS,
    MIN_VCPUS,
    MP_STATES,
    MSRS,
    OPS,
    VENDORS,
    Step,
    Vendor,
)

ICR: Final = 0x8000
PREFIX: Final = 0x4000
SIMPLE_OPS: Final = tuple(op for op in OPS if op != "icr")
TARGETS: Final = (0, 1, 2, 3, -1, -2, -3)
VECTORS: Final = (0x00, 0x12, 0x34, 0x9A)
FIXED_VECTORS: Final = (0x31, 0x51, 0x52, 0xF0)
WORDS: Final = {"vmlaunch": ACTIVITIES, "rdmsr": MSRS, "set-mp-state": MP_STATES}
CONTROLS: Final = {"vmlaunch": EXITING, "vmrun": INTERCEPTS}


def palette(mode: str) -> tuple[int, ...]:
    """The vectors that need no prefix."""
    return FIXED_VECTORS if mode == "fixed" else VECTORS


def subset_number(words: tuple[str, ...], chosen: tuple[str, ...]) -> int:
    return sum(1 << bit for bit, word in enumerate(words) if word in chosen)


def subset(words: tuple[str, ...], number: int) -> tuple[str, ...]:
    return tuple(word for bit, word in enumerate(words) if number >> bit & 1)


def encode_step(step: Step) -> tuple[int, ...]:
    """The code of `step`, after a prefix if its vector needs one."""
    if step.op == "icr":
        vectors = palette(step.mode)
        known = step.vector in vectors
        code = (
            ICR
            | POINT_ORDER.index(step.at) << 10
            | ICR_MODES.index(step.mode) << 7
            | TARGETS.index(step.to) << 4
            | (vectors.index(step.vector) if known else 0) << 2
            | step.on
        )
        return (code,) if known else (PREFIX | step.vector, code)
    controls = CONTROLS.get(step.op, ())
    argument = subset_number(controls, step.controls)
    if words := WORDS.get(step.op):
        argument |= words.index(step.mode) << len(controls)
    return (SIMPLE_OPS.index(step.op) << 9 | step.on << 6 | argument,)


@cache
def decode_step(code: int, vector: int | None = None) -> Step | None:
    """The step of `code`, with the vector of a prefix if there was one; None if it has none."""
    if code & ICR:
        point, mode, to = code >> 10 & 31, code >> 7 & 7, code >> 4 & 7
        if point >= len(POINT_ORDER) or mode >= len(ICR_MODES) or to >= len(TARGETS):
            return None
        name = ICR_MODES[mode]
        if vector is None:
            vector = palette(name)[code >> 2 & 3]
        return Step("icr", code & 3, TARGETS[to], name, vector, POINT_ORDER[point])
    number, on, argument = code >> 9, code >> 6 & 3, code & 63
    if code & PREFIX or code & 0x100 or number >= len(SIMPLE_OPS):
        return None
    op = SIMPLE_OPS[number]
    controls = CONTROLS.get(op, ())
    chosen, word = subset(controls, argument), argument >> len(controls)
    words = WORDS.get(op, ("",))
    if word >= len(words):
        return None
    return Step(op, on, mode=words[word], controls=chosen)


def prefix_vector(code: int) -> int | None:
    """The vector that a prefix code gives to the next code, if `code` is one."""
    return code & 0xFF if code & 0xFF00 == PREFIX else None


def header(vendor: Vendor, vcpus: int, codes: int) -> int:
    """The first code."""
    return codes << 3 | vcpus - MIN_VCPUS << 1 | VENDORS.index(vendor)


def vcpus_of(first: int) -> int:
    """The number of vCPUs in a header; no more than there can be."""
    return min(MAX_VCPUS, (first >> 1 & 3) + MIN_VCPUS)


def pack(codes: list[int]) -> bytes:
    return b"".join(code.to_bytes(2, "little") for code in codes)


def encode(schedule: Schedule) -> bytes:
    """`schedule` as bytes; `decode` gives back an equal one. Raises ScheduleError."""
    check(schedule)
    if any(block_of(step.at) is not None for step in schedule.steps):
        raise ScheduleError("a message at a block cannot be written as bytes")
    codes = [code for step in schedule.steps for code in encode_step(step)]
    if len(codes) >= 1 << 13:
        raise ScheduleError(f"{len(codes)} codes, expected {(1 << 13) - 1} at most")
    first = header(schedule.vendor, schedule.vcpus, len(codes))
    text = f"{schedule.name}\0{schedule.about}\0" if schedule.name or schedule.about else ""
    return pack([first, *codes]) + text.encode()


def decode(data: bytes) -> Schedule:
    """Read what `encode` wrote; raises ScheduleError for anything else."""
    if len(data) < 2:
        raise ScheduleError("truncated: no header")
    first = int.from_bytes(data[:2], "little")
    vendor, vcpus, count = VENDORS[first & 1], (first >> 1 & 3) + MIN_VCPUS, first >> 3
    end = 2 + 2 * count
    if len(data) < end:
        held = (len(data) - 2) // 2
        raise ScheduleError(f"truncated: the header says {count} codes, there are {held}")
    if vcpus > MAX_VCPUS:
        expected = f"expected {MIN_VCPUS} to {MAX_VCPUS}"
        raise ScheduleError(f"the header says {vcpus} vCPUs, {expected}")
    codes = [int.from_bytes(data[at : at + 2], "little") for at in range(2, end, 2)]
    steps: list[Step] = []
    vector: int | None = None
    for number, code in enumerate(codes):
        if vector is None and (vector := prefix_vector(code)) is not None:
            continue
        step = decode_step(code, vector)
        written = (code,) if vector is None else (PREFIX | vector, code)
        if step is None or encode_step(step) != written:
            raise ScheduleError(f"code {number}: {code:#06x} is no step")
        if problem := step_problem(step, vendor, vcpus):
            raise ScheduleError(f"code {number}: {problem}")
        steps.append(step)
        vector = None
    if vector is not None:
        raise ScheduleError("truncated: a vector without its icr")
    schedule = Schedule(vendor, vcpus, tuple(steps), *decode_text(data[end:]))
    check(schedule)
    return schedule


def decode_text(data: bytes) -> tuple[str, str]:
    if not data:
        return "", ""
    try:
        parts = data.decode().split("\0")
    except UnicodeDecodeError:
        raise ScheduleError("name or about is not UTF-8") from None
    if len(parts) != 3 or parts[2]:
        raise ScheduleError("truncated: name and about must each end with a NUL")
    return parts[0], parts[1]


def fuzz_input(schedule: Schedule) -> bytes:
    """`schedule` as a fuzzer's input: codes only, without name and about."""
    codes = [code for step in schedule.steps for code in encode_step(step)]
    return pack([header(schedule.vendor, schedule.vcpus, len(codes)), *codes])


def schedule_of_input(data: bytes) -> Schedule:
    """The schedule of a fuzzer's input; codes that are no step are left out."""
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


@cache
def alphabet(vendor: Vendor, vcpus: int) -> tuple[int, ...]:
    """The codes worth trying, ascending: two vectors where a vector counts, else the first."""
    valid = []
    for code in range(1 << 16):
        step = decode_step(code)
        if step is None or encode_step(step) != (code,) or step_problem(step, vendor, vcpus):
            continue
        useful = 2 if step.mode in ("sipi", "fixed") else 1
        if step.op != "icr" or (code >> 2 & 3) < useful:
            valid.append(code)
    return tuple(valid)
