"""Schedules for the conformance run: few of them, that reach as many joint states as they can.

What counts as covered is a joint state of the acting vCPU (its state in every variant) with the
step taken in it: that decides what the step shows. Races (`at`) become plain writes.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from fuzz.campaign.mutator import Mutator, crossover_of
from fuzz.report.replay import automaton_of
from fuzz.schedule.codes import header, schedule_of_input
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import initial_state, step
from variants.machine.step import MIN_VCPUS, Vendor
from variants.variant import Variant

CANDIDATES_EACH: Final = 40
"""Mutations tried for each schedule wanted."""
CROSSED: Final = 8
"""One candidate in this many is a crossover of two others."""
MAX_SEED: Final = 1 << 32


class Sample(NamedTuple):
    """The chosen schedules; how many joint states (with a step) they cover of those reached."""

    schedules: tuple[Schedule, ...]
    covered: int
    reached: int


def read_input(data: bytes) -> Schedule:
    """A libFuzzer input as a schedule, its races as plain writes."""
    schedule = schedule_of_input(data)
    return schedule._replace(steps=tuple(step._replace(at="") for step in schedule.steps))


class Reach:
    """What schedules of one vendor reach in the models of `variants`, as small numbers."""

    def __init__(self, vendor: Vendor, variants: Sequence[Variant]) -> None:
        self.machines = automaton_of(vendor, variants).compared.machines
        self.known: dict[object, int] = {}

    def of(self, schedule: Schedule) -> frozenset[int]:
        """The joint states that `schedule` takes a step in, each with the step."""
        states = [initial_state(schedule.vcpus)] * len(self.machines)
        found = set()
        for taken in schedule.steps:
            key = (taken, *(state.vcpus[taken.on] for state in states))
            found.add(self.known.setdefault(key, len(self.known)))
            pairs = zip(self.machines, states, strict=True)
            states = [step(machine, state, taken)[0] for machine, state in pairs]
        return frozenset(found)


def grown(vendor: Vendor, reach: Reach, tries: int, seed: int) -> Iterator[bytes]:
    """A corpus grown in this process: mutations that reach something new are kept and yielded."""
    random = Random(seed)
    mutate, crossover = Mutator(vendor, mix=True), crossover_of(mix=True)
    pool = [header(vendor, MIN_VCPUS, 0).to_bytes(2, "little")]
    seen: set[int] = set()
    for number in range(tries):
        parent = random.choice(pool)
        if number % CROSSED == 0:
            data = crossover(parent, random.choice(pool), 0, random.randrange(MAX_SEED))
        else:
            data = parent
            for _ in range(random.choice((1, 1, 2, 4))):
                data = mutate(data, 0, random.randrange(MAX_SEED))
        schedule = read_input(data)
        if not (found := reach.of(schedule)) <= seen:
            seen |= found
            pool.append(data)
            yield data


def corpus_files(folder: Path) -> Iterator[bytes]:
    """The inputs of a libFuzzer corpus, in the order of their names."""
    return (path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def cover(candidates: Iterable[Schedule], reach: Reach, count: int) -> Sample:
    """The `count` schedules that together cover most, greedily."""
    sets = [(schedule, reach.of(schedule)) for schedule in candidates]
    heap = [(-len(found), number) for number, (_, found) in enumerate(sets) if found]
    heapq.heapify(heap)
    covered: set[int] = set()
    chosen: list[Schedule] = []
    while heap and len(chosen) < count:
        _, number = heapq.heappop(heap)
        schedule, found = sets[number]
        gain = len(found - covered)
        if heap and gain < -heap[0][0]:
            heapq.heappush(heap, (-gain, number))
        elif gain:
            covered |= found
            chosen.append(schedule)
    reached = frozenset().union(*(found for _, found in sets))
    return Sample(tuple(chosen), len(covered), len(reached))


def sample(
    vendor: Vendor,
    variants: Sequence[Variant],
    count: int,
    corpus: Path | None = None,
    seed: int = 1,
) -> Sample:
    """`count` schedules for `vendor`, or fewer if these cover everything reached.

    corpus: a folder of libFuzzer inputs to choose from; without it a corpus is grown here, the
        same for the same seed and models.
    """
    reach = Reach(vendor, variants)
    inputs = corpus_files(corpus) if corpus else grown(vendor, reach, count * CANDIDATES_EACH, seed)
    schedules = map(read_input, inputs)
    chosen = cover((one for one in schedules if one.vendor == vendor), reach, count)
    named = (
        one._replace(name=f"sample-{vendor}-{number}")
        for number, one in enumerate(chosen.schedules)
    )
    return chosen._replace(schedules=tuple(named))
