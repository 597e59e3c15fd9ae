"""How many more schedules two workers run than one, and how many on a cluster of two.

Runs campaigns of one vendor one after the other, there and back again, each from the seeds, and
prints schedules a second and the ratio to one worker. Nothing else should run meanwhile.

    python -m bench.workers [--vendor V] [--seconds S] [--workers N]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from variants.machine.step import VENDORS

ROOT = Path(__file__).parent.parent


def rate(vendor: str, seconds: int, *crew: str) -> float:
    """Schedules a second of a campaign whose crew is chosen by these options."""
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        out = Path(folder) / "campaign"
        command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--vendor", vendor, "--seed", "1"]
        command += ["--time", str(seconds), "--out", str(out), "--json", *crew]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if ran.returncode != 1:
            sys.exit(ran.stderr)
        schedules: int = json.loads(ran.stdout)["schedules"]
        return schedules / seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.workers")
    parser.add_argument("--vendor", choices=VENDORS, default="svm")
    parser.add_argument("--seconds", type=int, default=60, help="of a campaign (60)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    number = str(options.workers)
    crews = [("--workers", "1"), ("--workers", number), ("--cluster", number)]
    rates: dict[tuple[str, str], list[float]] = {crew: [] for crew in crews}
    for crew in (*crews, *reversed(crews)):
        rates[crew].append(rate(options.vendor, options.seconds, *crew))
    one = sum(rates[crews[0]])
    for crew, some in rates.items():
        each = ", ".join(f"{value:,.0f}" for value in some)
        print(f"{' '.join(crew):<12} {each:>20} schedules/s, {sum(some) / one:.2f} times")


if __name__ == "__main__":
    main()
