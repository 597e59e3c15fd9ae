"""Schedules per second: the shipped target against plain instrumentation and an empty target.

Every figure comes from this one run, on one core, one process after the other, with the same
mutator and the same starting corpus:

    shipped   the joint automaton with its own coverage counters, as campaigns run it
    warm      the shipped target's loop over inputs it has seen, without libFuzzer
    plain     the same models, stepped anew each time under Atheris's bytecode instrumentation
    empty     a target that does nothing: the most that Atheris and the mutator leave room for

    python -m bench.throughput [--seconds S] [--vendor V]
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.campaign.coverage import COUNTERS, ByOutline
from fuzz.campaign.folder import write_seeds
from fuzz.campaign.mutator import MAX_STEPS, Mutator
from fuzz.campaign.target import runner
from fuzz.campaign.walker import Walker
from fuzz.compare.compared import compared
from fuzz.memory.automaton import Automaton
from variants.catalogue import choose
from variants.machine.step import VENDORS, Vendor

HERE = Path(__file__).resolve().parent.parent


def measure(command: list[str], work: Path) -> float:
    """Schedules per second over the second half of a run of `command`."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    readings = []
    while process.poll() is None:
        time.sleep(0.5)
        readings += [path.read_text().split()[:2] for path in work.glob("*.count")]
    numbers = [(int(runs), float(elapsed)) for runs, elapsed in readings]
    runs, elapsed = numbers[-1]
    half = next(reading for reading in numbers if reading[1] >= elapsed / 2)
    if runs == half[0]:
        return runs / elapsed
    return (runs - half[0]) / (elapsed - half[1])


def warm_loop(vendor: Vendor, corpus: Path) -> float:
    """Schedules of 16 steps per second through the automaton once it knows them all."""
    automaton = Automaton(compared(vendor, choose("", [])), counting=ByOutline())
    mutate = Mutator(vendor)
    inputs = []
    seeds = [path.read_bytes() for path in sorted(corpus.iterdir())]
    for number in range(4000):
        data = seeds[number % len(seeds)]
        for turn in range(40):
            data = mutate(data, 0, number * 40503 + turn)
            if len(data) == 2 + 2 * MAX_STEPS:
                inputs.append(data)
                break
    run = runner(Walker(automaton), bytearray(COUNTERS))
    rate = 0.0
    gc.disable()
    for _ in range(3):
        began = time.perf_counter()
        for data in inputs:
            run(data)
        rate = len(inputs) / (time.perf_counter() - began)
    gc.enable()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.throughput")
    parser.add_argument("--seconds", type=int, default=20, help="for each target (20)")
    parser.add_argument("--vendor", choices=VENDORS, default="svm")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    vendor, seconds = options.vendor, options.seconds
    rates = {}
    for kind in ("shipped", "plain", "empty"):
        with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
            work = Path(folder)
            (work / "corpus").mkdir()
            write_seeds(work / "corpus", vendor)
            limit = [f"-max_total_time={seconds}", "-seed=1", str(work / "corpus")]
            module = ["fuzz.campaign.target"] if kind == "shipped" else ["bench.bytecode"]
            module += ["--empty"] if kind == "empty" else []
            command = [*module, "--vendor", vendor, "--findings", str(work), "--", *limit]
            rates[kind] = measure(command, work)
            if kind == "shipped":
                rates["warm"] = warm_loop(vendor, work / "corpus")
    if options.json:
        print(json.dumps({"vendor": vendor, "schedules_per_second": rates}))
        return
    print(f"{vendor}, {seconds} s each, schedules per second on one core")
    for kind, rate in rates.items():
        print(f"  {kind:8} {rate:12,.0f}   {rate / rates['plain']:7.1f} x plain")


if __name__ == "__main__":
    main()
