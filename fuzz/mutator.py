"""Mutation and crossover of schedule codes, step by step.

The input is a header code and step codes (`schedule_bytes`). Every mutation yields valid steps
of the palette, so no input is wasted on codes that mean nothing. The generator is seeded by
libFuzzer, so a run is repeatable.
"""

from collections.abc import Callable
from typing import Final

from fuzz.schedule_bytes import alphabet, decode_step, encode_step, header
from variants.machine.step import Step, Vendor

MAX_STEPS: Final = 16
MASK: Final = (1 << 32) - 1

Mutate = Callable[[bytes, int, int], bytes]


def code_bytes(code: int) -> bytes:
    return code.to_bytes(2, "little")


def dictionary(vendor: Vendor) -> list[tuple[Step, ...]]:
    """Short runs of steps that get a vCPU into the states INIT and SIPI care about."""
    init, sipi = (Step("icr", 0, 1, mode, 0x12 * (mode == "sipi")) for mode in ("init", "sipi"))
    idle, halt = Step("nop", 1), Step("hlt", 1)
    common = [(init, idle), (init, idle, sipi, idle), (sipi, idle), (sipi, halt), (Step("sti", 1),)]
    if vendor == "svm":
        enter = [Step("vmrun", 1), Step("vmrun", 1, controls=("init",))]
        return [*common, *((one,) for one in enter), (enter[1], sipi), (Step("clgi", 1), init)]
    on, wait = Step("vmxon", 1), Step("vmlaunch", 1, mode="wait-for-sipi")
    run = Step("vmlaunch", 1, mode="active")
    return [*common, (on,), (on, run), (on, wait), (on, wait, sipi), (wait,), (run,), (on, init)]


def mutator(vendor: Vendor, vcpus: int, max_steps: int = MAX_STEPS) -> Mutate:
    """A mutation function (data, size limit, seed) for schedules of `vendor` with `vcpus`."""
    head = header(vendor, vcpus, 0).to_bytes(2, "little")
    codes = alphabet(vendor, vcpus)
    plain = [code_bytes(code) for code in codes if not (step_at(code))]
    racing = [code_bytes(code) for code in codes if step_at(code)]
    runs = [
        b"".join(code_bytes(code) for step in run for code in encode_step(step))
        for run in dictionary(vendor)
    ]
    others = [code_bytes(code) for code in codes if not step_at(code) and not code & 0x8000]
    count_plain, count_racing, count_runs = len(plain), len(racing), len(runs)
    count_others = len(others)

    def mutate(data: bytes, _size: int, seed: int) -> bytes:
        # A linear congruential step per decision: cheaper than a `random.Random` a call.
        body = data[2:]
        steps = len(body) >> 1
        r = (seed * 1664525 + 1013904223) & MASK
        choice = r >> 24 & 15
        r = (r * 1664525 + 1013904223) & MASK
        at = (r >> 8) % (steps + 1) << 1
        r = (r * 1664525 + 1013904223) & MASK
        pick = r >> 8
        if choice < 5:
            piece = plain[pick % count_plain] if choice else others[pick % count_others]
            drop = 0 if steps < max_steps and choice < 3 else 2
        elif choice < 7:
            piece, drop = racing[pick % count_racing], 2 * (choice == 5)
        elif choice < 10:
            piece, drop = runs[pick % count_runs], 2 * (choice == 7)
        elif choice < 13:
            piece, drop = b"", 2 + 2 * (choice == 12)
        elif choice == 13:
            # Move a step.
            start = pick % (steps + 1) << 1
            piece = body[start : start + 2]
            body = body[:start] + body[start + 2 :]
            drop = 0
        else:
            # Repeat a run of steps elsewhere.
            start = pick % (steps + 1) << 1
            piece, drop = body[start : start + 2 + (pick >> 8 & 6)], 0
        return (head + body[:at] + piece + body[at + drop :])[: 2 + 2 * max_steps]

    return mutate


def step_at(code: int) -> str:
    """The preemption point of a step code, if any."""
    step = decode_step(code)
    return step.at if step else ""


def crossover(one: bytes, other: bytes, _size: int, seed: int) -> bytes:
    """The beginning of one schedule and the end of another."""
    first = seed % max(1, len(one) >> 1) << 1
    second = (seed >> 8) % max(1, len(other) >> 1) << 1
    return (one[: first + 2] + other[second + 2 :])[: 2 + 2 * MAX_STEPS]
