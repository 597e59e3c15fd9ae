"""A plain Atheris target for comparison: bytecode coverage, models stepped without memory.

Its coverage sees which lines of the models run, not which states they are in.
"""

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["variants", "fuzz.compare.naive"]):
    from fuzz.compare import naive
    from fuzz.compare.compared import compared

from fuzz.campaign.mutator import MAX_STEPS, Mutator, crossover_of
from fuzz.campaign.target import Findings
from fuzz.memory.automaton import Automaton
from fuzz.schedule.codes import schedule_of_input
from fuzz.schedule.file import write_whole
from variants.catalogue import choose
from variants.machine.step import VENDORS


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.bytecode")
    parser.add_argument("--vendor", choices=VENDORS, required=True)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--empty", action="store_true", help="do nothing with the input")
    parser.add_argument("libfuzzer", nargs="*")
    options = parser.parse_args()
    subject = compared(options.vendor, choose("", []))
    automaton = Automaton(subject)
    known: set[object] = set()
    findings = Findings(options.findings)
    count = options.findings / "0.count"
    every = 20000 if options.empty else 50

    def run(data: bytes) -> None:
        findings.progress.runs += 1
        if findings.progress.runs % every == 0:
            write_whole(count, f"{findings.progress.runs} {findings.progress.elapsed}")
        if options.empty:
            return
        findings.current = data
        schedule = schedule_of_input(data)
        splits = naive.compare(subject, schedule)
        # Names are asked for only where a split may be of a new class: they take long.
        new = {(schedule.steps[number]._replace(vector=0), parts) for number, parts in splits}
        if not new <= known:
            known.update(new)
            findings(tuple(found for _, found in automaton.compare(schedule)))

    atheris.Setup(
        [sys.argv[0], f"-max_len={2 + 2 * MAX_STEPS}", *options.libfuzzer],
        run,
        custom_mutator=Mutator(options.vendor),
        custom_crossover=crossover_of(mix=False),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
