"""Schedules for the conformance run: few of them, that reach as many model states as they can."""

import heapq
from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

from fuzz.joint import joint_of
from fuzz.mutator import scenario
from fuzz.schedule import Schedule, step_problem
from fuzz.schedule_bytes import alphabet, decode_step
from variants.machine.machine import initial_state, step
from variants.machine.step import Step, Vendor
from variants.machine.variant import Variant

VCPUS: Final = 2
STEPS: Final = (4, 14)
CANDIDATES_EACH: Final = 12


def draw(vendor: Vendor, random: Random) -> Schedule:
    """A random schedule without races: mostly steps of one vCPU, now and then any step."""
    anything = [
        found for code in alphabet(vendor, VCPUS) if (found := decode_step(code)) and not found.at
    ]
    common, runs = scenario(vendor, random.choice((1, 1, 1, 0)))
    steps: list[Step] = []
    for _ in range(random.randint(*STEPS)):
        chance = random.random()
        if chance < 0.2:
            steps += random.choice(runs)
        elif chance < 0.85:
            steps.append(random.choice(common))
        else:
            steps.append(random.choice(anything))
    valid = tuple(one for one in steps if not step_problem(one, vendor, VCPUS))
    return Schedule(vendor, VCPUS, valid)


def reached(schedule: Schedule, variants: Sequence[Variant]) -> set[int]:
    """What a schedule covers: each variant's vCPU states, with the step taken in them."""
    covered = set()
    for number, step_one in enumerate(joint_of(schedule.vendor, variants).step_vcpus):
        state = initial_state(schedule.vendor, schedule.vcpus)
        for taken in schedule.steps:
            covered.add(hash((number, state.vcpus[taken.on], taken)))
            state, _ = step(step_one, state, taken)
    return covered


def cover(
    candidates: Iterable[Schedule], variants: Sequence[Variant], count: int
) -> list[Schedule]:
    """The `count` schedules that together cover most, greedily."""
    heap = [
        (-len(found), number, schedule, found)
        for number, schedule in enumerate(candidates)
        if (found := reached(schedule, variants))
    ]
    heapq.heapify(heap)
    covered: set[int] = set()
    chosen: list[Schedule] = []
    while heap and len(chosen) < count:
        _, number, schedule, found = heapq.heappop(heap)
        found -= covered
        if heap and len(found) < -heap[0][0]:
            heapq.heappush(heap, (-len(found), number, schedule, found))
            continue
        covered |= found
        chosen.append(schedule)
    return chosen


def sample(
    vendor: Vendor, variants: Sequence[Variant], count: int, seed: int = 1
) -> list[Schedule]:
    """`count` schedules for `vendor`, the same for the same seed and models."""
    random = Random(seed)
    candidates = (draw(vendor, random) for _ in range(count * CANDIDATES_EACH))
    chosen = cover(candidates, variants, count)
    return [one._replace(name=f"sample-{number}") for number, one in enumerate(chosen)]
