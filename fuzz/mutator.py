"""Mutation and crossover of schedule codes, step by step.

The input is a header code and step codes (`schedule_bytes`). Every mutation yields valid steps
of the palette, so no input is wasted on codes that mean nothing. The generator is seeded by
libFuzzer, so a run is repeatable.
"""

from collections.abc import Callable, Iterable
from typing import Final

from fuzz.schedule_bytes import alphabet, decode_step, encode_step, header
from variants.machine.points import POINTS
from variants.machine.step import MP_STATES, Step, Vendor

MAX_STEPS: Final = 16
MASK: Final = (1 << 32) - 1

Mutate = Callable[[bytes, int, int], bytes]


def code_bytes(code: int) -> bytes:
    return code.to_bytes(2, "little")


def scenario(vendor: Vendor, on: int) -> tuple[list[Step], list[tuple[Step, ...]]]:
    """The steps and runs of steps that bring vCPU `on` where INIT and SIPI matter."""
    other = 1 - on
    init, sipi, fixed, nmi, smi = (
        Step("icr", other, on, mode, vector)
        for mode, vector in (("init", 0), ("sipi", 0x12), ("fixed", 0x31), ("nmi", 0), ("smi", 0))
    )
    idle, halt = Step("nop", on), Step("hlt", on)
    steps = [init, sipi, idle, halt] * 3 + [fixed, nmi, smi, Step("sti", on), Step("rsm", on)]
    steps += [Step("get-mp-state", on), Step("get-vcpu-events", on), Step("save-restore", on)]
    steps += [Step("set-mp-state", on, mode=mode) for mode in MP_STATES]
    runs = [(init, idle), (init, idle, sipi, idle), (sipi, idle), (sipi, halt), (init, sipi)]
    if vendor == "svm":
        enter = [Step("vmrun", on), Step("vmrun", on, controls=("init",))]
        steps += [*enter * 2, Step("clgi", on), Step("stgi", on), Step("vmmcall", on)]
        runs += [(enter[0], init), (enter[1], sipi), (enter[1], init), (Step("clgi", on), init)]
    else:
        vmxon, run = Step("vmxon", on), Step("vmlaunch", on, mode="active")
        wait = Step("vmlaunch", on, mode="wait-for-sipi")
        steps += [
            vmxon,
            run,
            wait,
            vmxon,
            run,
            wait,
            Step("vmxoff", on),
            Step("vmcall", on),
            Step("rdmsr", on, mode="ia32-vmx-misc"),
        ]
        runs += [(vmxon, run), (vmxon, wait), (vmxon, wait, sipi), (vmxon, init), (run, init)]
        runs += [(vmxon, wait, init, sipi)]
    return steps, runs


def packed(steps: Iterable[Step]) -> bytes:
    return b"".join(code_bytes(code) for step in steps for code in encode_step(step))


def mutator(vendor: Vendor, vcpus: int, max_steps: int = MAX_STEPS) -> Mutate:
    """A mutation function (data, size limit, seed) for schedules of `vendor` with `vcpus`.

    Mostly it draws from a few dozen steps on one vCPU (an AP two times out of three): drawn
    evenly from the whole alphabet, joint states would hardly ever recur. Races likewise.
    """
    head = header(vendor, vcpus, 0).to_bytes(2, "little")
    whole = [code_bytes(code) for code in alphabet(vendor, vcpus) if not step_at(code)]
    common: list[bytes] = []
    runs: list[bytes] = []
    racing: list[bytes] = []
    for on in (1, 1, 0):
        steps, some = scenario(vendor, on)
        common += [packed((step,)) for step in steps]
        runs += [packed(run) for run in some]
        racing += [
            packed((Step("icr", 1 - on, on, mode, 0x12 * (mode == "sipi"), point),))
            for mode in ("init", "sipi", "sipi", "init", "nmi")
            for point in POINTS
        ]
    count_whole, count_common = len(whole), len(common)
    count_runs, count_racing = len(runs), len(racing)

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
        if choice < 6:
            piece = common[pick % count_common]
            drop = 0 if steps < max_steps and choice < 4 else 2
        elif choice < 8:
            piece, drop = runs[pick % count_runs], 2 * (choice == 7)
        elif choice == 8 or (choice == 9 and pick & 1):
            piece, drop = racing[pick % count_racing], 0
        elif choice == 9:
            piece, drop = whole[pick % count_whole], 2 * (pick >> 20 & 1)
        elif choice < 13:
            piece, drop = b"", 2 + 2 * (choice == 12)
        else:
            # Move or repeat a run of steps.
            start = pick % (steps + 1) << 1
            end = start + 2 + (pick >> 8 & 6)
            piece, drop = body[start:end], 0
            if choice == 13:
                body = body[:start] + body[end:]
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
