"""Finding divergences without coverage, for comparison: random schedules, and Hypothesis.

Both run on the same automaton as campaigns do, and draw steps from the whole alphabet.
"""

import argparse
import random
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from fuzz.campaign.coverage import COUNTERS, ByOutline
from fuzz.campaign.mutator import MAX_STEPS
from fuzz.campaign.target import Findings, runner
from fuzz.campaign.walker import Walker
from fuzz.compare.compared import compared
from fuzz.memory.automaton import Automaton
from fuzz.memory.node import walk
from fuzz.schedule.codes import alphabet, decode_step, fuzz_input, header, pack
from fuzz.schedule.file import write_whole
from fuzz.schedule.schedule import Schedule
from variants.catalogue import choose
from variants.machine.step import VENDORS, Step, Vendor


def draw_randomly(automaton: Automaton, findings: Findings, until: float, seed: int) -> None:
    """Schedules of 1 to 16 steps, each drawn evenly from the alphabet."""
    generator = random.Random(seed)
    vendor = automaton.compared.vendor
    codes = alphabet(vendor, 2)
    first = header(vendor, 2, 0)
    run = runner(Walker(automaton), bytearray(COUNTERS))
    while time.monotonic() < until:
        findings.progress.runs += 1
        length = generator.randint(1, MAX_STEPS)
        findings.current = pack([first, *generator.choices(codes, k=length)])
        run(findings.current)


def draw_with_hypothesis(automaton: Automaton, findings: Findings, until: float, seed: int) -> None:
    """A state machine whose one rule takes a step."""
    vendor = automaton.compared.vendor
    steps = [step for code in alphabet(vendor, 2) if (step := decode_step(code))]

    class Stepping(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            findings.progress.runs += 1
            self.taken: list[Step] = []
            self.vm, self.waiting = automaton.start(2), list[int]()

        @rule(step=st.sampled_from(steps))
        def take(self, step: Step) -> None:
            self.taken.append(step)
            findings.current = fuzz_input(Schedule(vendor, 2, tuple(self.taken)))
            walk(self.vm, self.waiting, automaton.move(step, 2))

    turn = 0
    while time.monotonic() < until:
        turn += 1
        chosen = settings(
            max_examples=200,
            stateful_step_count=MAX_STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        machine = hypothesis_seed(seed * 1_000_003 + turn)(Stepping)
        run_state_machine_as_test(machine, settings=chosen)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.blind")
    parser.add_argument("--vendor", choices=VENDORS, required=True)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--hypothesis", action="store_true", help="not evenly at random")
    options = parser.parse_args()
    vendor: Vendor = options.vendor
    findings = Findings(options.findings)
    automaton = Automaton(compared(vendor, choose("", [])), findings, ByOutline())
    draw = draw_with_hypothesis if options.hypothesis else draw_randomly
    draw(automaton, findings, time.monotonic() + options.seconds, options.seed)
    runs, elapsed = findings.progress.runs, findings.progress.elapsed
    write_whole(options.findings / "0.count", f"{runs} {elapsed}")


if __name__ == "__main__":
    main()
