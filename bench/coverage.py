"""What should count as new to libFuzzer? Time and schedules to each signature, by coverage.

    outline   a joint state's outline has a counter (what campaigns use)
    state     a joint state has a counter, modulo their number
    edge      an outline and the code taken from it have a counter
    bytecode  Atheris's instrumentation of the models' bytecode, stepped without memory

    python -m bench.coverage [--seconds S] [--vendor V] [--seeds N]

The yardstick is the union of what all runs of this command found.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.campaign import write_seeds
from variants.machine.step import VENDORS, Vendor

HERE = Path(__file__).resolve().parent.parent
KINDS = ("outline", "state", "edge", "bytecode")


def discoveries(kind: str, vendor: Vendor, seconds: int, seed: int) -> dict[str, float]:
    """Signature to the second at which a fresh fuzzer first recorded it."""
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        work = Path(folder)
        (work / "corpus").mkdir()
        write_seeds(work / "corpus", vendor)
        module = ["bench.bytecode"] if kind == "bytecode" else ["fuzz.target", "--coverage", kind]
        limit = [f"-max_total_time={seconds}", f"-seed={seed}", str(work / "corpus")]
        began = time.time()
        subprocess.run(
            [
                *(sys.executable, "-m", *module, "--vendor", vendor),
                *("--findings", str(work), "--", *limit),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            cwd=work,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        first: dict[str, float] = {}
        for path in work.glob("[0-9]*.json"):
            signature = json.loads(path.read_text())["signature"]
            at = path.stat().st_mtime - began
            first[signature] = min(at, first.get(signature, at))
        return first


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.coverage")
    parser.add_argument("--seconds", type=int, default=60, help="for each run (60)")
    parser.add_argument("--vendor", choices=VENDORS, default="svm")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each kind (2)")
    options = parser.parse_args()
    runs = {
        kind: [
            discoveries(kind, options.vendor, options.seconds, seed + 1)
            for seed in range(options.seeds)
        ]
        for kind in KINDS
    }
    union = {signature for found in runs.values() for run in found for signature in run}
    print(f"{options.vendor}: {len(union)} signatures in all, {options.seconds} s a run, one core")
    print("  coverage   found   seconds to half, to 90 %, to all")
    for kind, found in runs.items():
        for run in found:
            times = sorted(run.values())
            marks = [times_to(times, len(union), share) for share in (0.5, 0.9, 1.0)]
            print(f"  {kind:9} {len(run):6}   " + "  ".join(marks))


def times_to(times: list[float], total: int, share: float) -> str:
    """The second by which `share` of `total` was found."""
    needed = max(1, round(total * share))
    return f"{times[needed - 1]:8.1f}" if len(times) >= needed else "       -"


if __name__ == "__main__":
    main()
