"""Which schedules are worth a live run? Those that tell guarded mutants (`bench.guards`), soonest.

Four sets of schedules without races, with as many of each, in their order:

    cover     the covering set of `live conform --cover`: novelty walks, then tours
    sample    what `live conform` samples: a corpus grown by the fuzzer's mutator on `original`
              alone, 40 mutations tried for each schedule wanted, of which a greedy set cover takes
              the schedules (of 1 to 16 steps) that reach most new states with each step, those with
              most first
    grown     that corpus, in the order in which it grows
    blind     32 steps drawn evenly from all that can happen, to two vCPUs

A mutant is told by a schedule in which its model shows anything that `original` does not, as a live
run would: nothing hidden counts. Shares are of the mutants that any of the sets tells. Signatures
are those of corpus/exhaustive.json that show (not latent) without a race.

    python -m bench.guarded [--vendor V] [--mutants N] [--seed S] [--json]
"""

import argparse
import json
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Final, NamedTuple

from bench.guards import Mutant, bits_of, mutants, variant_of, watched
from fuzz.compare import watch
from fuzz.compare.compared import StepError, compared
from fuzz.compare.watch import HangError
from fuzz.live.cover import WALKS, made, reproducers
from fuzz.live.novelty import events_of
from fuzz.live.pairs import MOST_STEPS
from fuzz.live.sample import CANDIDATES_EACH, Reach, cover, grown, read_input
from fuzz.report.replay import automaton_of
from fuzz.schedule.alphabet import usual_alphabets
from fuzz.schedule.schedule import Schedule, own_part
from variants.catalogue import BUILT_IN, built_in
from variants.machine.machine import Machine, initial_state
from variants.machine.observation import Observation
from variants.machine.step import MIN_VCPUS, TO_SELF, VENDORS, Step, Vendor, targets
from variants.machine.vcpu import Irq, VcpuState

CUTS: Final = (100, 1000)
BASE: Final = built_in()["original"]

Happening = tuple[VcpuState, Step | Irq]
"""A vCPU and what happens to it: a step of its own (`own_part`), or a message that reaches it."""


class Became(NamedTuple):
    """What became of a vCPU; with a step, what it showed, and whether it wrote the ICR."""

    vcpu: VcpuState
    shown: Observation | None = None
    sent: bool = False


def happen(machine: Machine, happening: Happening) -> Became:
    """Let it happen. Raises StepError, HangError."""
    vcpu, event = happening
    if isinstance(event, Irq):
        return Became(machine.deliver(vcpu, event))
    done = machine.step_vcpu(vcpu, event, ())
    return Became(done.vcpu, done.observation, done.sent)


class Known:
    """What happens in `original`, by number, each computed once. calls: by function and values of
    the bits with which it is called, in which."""

    def __init__(self, vendor: Vendor) -> None:
        self._called: set[tuple[str, int]] = set()
        self._machine = compared(vendor, [watched(vendor, self._called)]).machines[0]
        self.numbers: dict[Happening, int] = {}
        self.happenings: list[Happening] = []
        self.became: list[Became] = []
        self.calls: dict[str, dict[int, list[int]]] = {}

    def number(self, happening: Happening) -> int:
        """The number of `happening`."""
        known = self.numbers.get(happening)
        if known is None:
            known = self.numbers[happening] = len(self.became)
            self._called.clear()
            self.happenings.append(happening)
            self.became.append(happen(self._machine, happening))
            for function, context in self._called:
                self.calls.setdefault(function, {}).setdefault(context, []).append(known)
        return known


class Run(NamedTuple):
    """A schedule as `original` runs it. steps: by step, the number of what happens to the vCPU that
    takes it. all: of everything that happens."""

    schedule: Schedule
    steps: tuple[int, ...]
    all: frozenset[int]


def run(known: Known, schedule: Schedule) -> Run:
    """Run `schedule`."""
    vcpus = list(initial_state(schedule.vcpus).vcpus)
    steps, everything = [], set()
    for taken in schedule.steps:
        steps.append(known.number((vcpus[taken.on], own_part(taken))))
        everything.add(steps[-1])
        became = known.became[steps[-1]]
        vcpus[taken.on] = became.vcpu
        for target, irq in sent(taken, became, schedule.vcpus):
            number = known.number((vcpus[target], irq))
            everything.add(number)
            vcpus[target] = known.became[number].vcpu
    return Run(schedule, tuple(steps), frozenset(everything))


def sent(step: Step, became: Became, vcpus: int) -> Iterator[tuple[int, Irq]]:
    """What `step` sends to other vCPUs, and to which."""
    if became.sent and step.to != TO_SELF:
        irq = Irq(step.mode, step.vector)
        yield from ((to, irq) for to in targets(step, vcpus) if to != step.on)


class Told:
    """Whether runs tell a mutant from `original`. The mutant steps only where its guard is met.

    known: of all the runs, before it is asked about any.
    """

    def __init__(self, mutant: Mutant, vendor: Vendor, known: Known) -> None:
        self._machine = compared(vendor, [variant_of(mutant, vendor)]).machines[0]
        self._known = known
        bits = {name: 1 << place for place, name in enumerate(bits_of(vendor))}
        mask = sum(bits[name] for name, _ in mutant.guard)
        value = sum(bits[name] for name, met in mutant.guard if met)
        calls = known.calls.get(mutant.target.__name__, {})
        self._met = {
            number for context, some in calls.items() if context & mask == value for number in some
        }
        self._became: dict[Happening, Became] = {}

    def by(self, run: Run) -> bool:
        """Does the mutant show anything else in `run`?"""
        try:
            return any(map(self._differs, run.all & self._met)) and self._shows(run)
        except (StepError, HangError):
            return True

    def _became_of(self, happening: Happening) -> Became:
        number = self._known.numbers.get(happening)
        if number is not None and number not in self._met:
            return self._known.became[number]
        became = self._became.get(happening)
        if became is None:
            became = self._became[happening] = happen(self._machine, happening)
        return became

    def _differs(self, number: int) -> bool:
        return self._became_of(self._known.happenings[number]) != self._known.became[number]

    def _shows(self, run: Run) -> bool:
        vcpus = list(initial_state(run.schedule.vcpus).vcpus)
        for taken, number in zip(run.schedule.steps, run.steps, strict=True):
            became = self._became_of((vcpus[taken.on], own_part(taken)))
            if became.shown != self._known.became[number].shown:
                return True
            vcpus[taken.on] = became.vcpu
            for target, irq in sent(taken, became, run.schedule.vcpus):
                vcpus[target] = self._became_of((vcpus[target], irq)).vcpu
        return False


def first(told: Told, runs: Sequence[Run]) -> int | None:
    """How many of `runs` it takes to tell the mutant; None if they do not."""
    return next((number for number, one in enumerate(runs, 1) if told.by(one)), None)


def blind(vendor: Vendor, seed: int) -> Iterator[Schedule]:
    """Schedules of all that can happen to two vCPUs, drawn evenly."""
    random, events = Random(seed), events_of(vendor)

    def drawn() -> Step:
        on, event = random.randrange(MIN_VCPUS), random.choice(events)
        if event.message:
            return Step("icr", 1 - on, on, *event.message)
        assert event.step
        return event.step._replace(on=on)

    while True:
        yield Schedule(vendor, MIN_VCPUS, tuple(drawn() for _ in range(MOST_STEPS)))


def sets_of(vendor: Vendor, seed: int) -> dict[str, list[Schedule]]:
    """The sets, all as long as the covering set if they can be."""
    subject = compared(vendor, [BASE])
    alphabets = usual_alphabets(vendor, races=False)
    covering = made(subject, alphabets, reproducers(vendor), WALKS[vendor]).schedules
    count = len(covering)
    reach = Reach(vendor, [BASE])
    corpus = [read_input(one) for one in grown(vendor, reach, count * CANDIDATES_EACH, seed)]
    return {
        "cover": list(covering),
        "sample": list(cover(corpus, reach, count).schedules),
        "grown": corpus[:count],
        "blind": list(islice(blind(vendor, seed), count)),
    }


def wanted(vendor: Vendor) -> set[str]:
    """The signatures to show: those of the reproducers that need no race."""
    return {*shown(vendor, reproducers(vendor))}


def shown(vendor: Vendor, schedules: Sequence[Schedule]) -> dict[str, int]:
    """By signature, how many of `schedules` it takes to show it. What is latent does not show."""
    automaton = automaton_of(vendor, [built_in()[name] for name in BUILT_IN])
    found: dict[str, int] = {}
    for number, schedule in enumerate(schedules, 1):
        for _, divergence in automaton.compare(schedule):
            if divergence.kind != "latent":
                found.setdefault(str(divergence.signature), number)
    return found


class Scores(NamedTuple):
    """Of one set, at each of the cuts and at its end: the mutants it tells, the signatures it
    shows. never: signatures that it does not show."""

    mutants: list[int]
    signatures: list[int]
    never: list[str]


class Measured(NamedTuple):
    """Of one vendor. told: the mutants that any set tells, of all that were made."""

    schedules: int
    made: int
    told: int
    signatures: int
    sets: dict[str, Scores]
    seconds: float


def measured(vendor: Vendor, count: int, seed: int) -> Measured:
    """Hold the sets against `count` mutants and the certificate. seed: of mutants, and of the sets
    that are drawn."""
    began = time.monotonic()
    sets = sets_of(vendor, seed)
    known = Known(vendor)
    runs = {name: [run(known, one) for one in some] for name, some in sets.items()}
    tellers = (Told(mutant, vendor, known) for mutant in mutants(vendor, count, seed))
    with watch.watched():
        firsts = [{name: first(told, some) for name, some in runs.items()} for told in tellers]
    there = wanted(vendor)
    scores = {}
    for name, some in sets.items():
        telling = [number for one in firsts if (number := one[name]) is not None]
        showing = {one: number for one, number in shown(vendor, some).items() if one in there}
        scores[name] = Scores(
            at_cuts(telling), at_cuts(showing.values()), sorted(there - {*showing})
        )
    told = sum(any(one.values()) for one in firsts)
    most = max(map(len, sets.values()))
    return Measured(most, count, told, len(there), scores, time.monotonic() - began)


def at_cuts(numbers: Collection[int]) -> list[int]:
    """How many of `numbers` are at most each of `CUTS`, and how many there are."""
    return [*(sum(number <= cut for number in numbers) for cut in CUTS), len(numbers)]


def table(vendor: Vendor, result: Measured) -> str:
    """The figures, a row a set."""
    cuts = " / ".join(f"{cut:,}" for cut in (*CUTS, result.schedules))
    lines = [
        f"{vendor}: {result.made} mutants, any set tells {result.told}; {result.seconds:.0f} s",
        "",
        f"| set | mutants told by {cuts} | % | signatures, of {result.signatures} |",
        "| --- | --- | --- | --- |",
    ]
    for name, scores in result.sets.items():
        shares = [f"{100 * told / max(1, result.told):.1f}" for told in scores.mutants]
        cells = (map(str, scores.mutants), shares, map(str, scores.signatures))
        lines.append(f"| {name} | " + " | ".join(" / ".join(cell) for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.guarded")
    parser.add_argument("--vendor", choices=VENDORS, help="both, unless given")
    parser.add_argument("--mutants", type=int, default=1000, metavar="N", help="to make (1000)")
    parser.add_argument("--seed", type=int, default=1, help="of mutants and of random sets (1)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for vendor in [options.vendor] if options.vendor else VENDORS:
        result = measured(vendor, options.mutants, options.seed)
        if options.json:
            sets = {name: scores._asdict() for name, scores in result.sets.items()}
            print(json.dumps({"vendor": vendor, **result._asdict(), "sets": sets}), flush=True)
        else:
            print(table(vendor, result), flush=True)


if __name__ == "__main__":
    main()
