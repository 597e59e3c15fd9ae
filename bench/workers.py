"""How many more schedules two workers run than one, and how many on a cluster of two.

A campaign of one vendor runs until all that there is has been found, and is then gone on with by
each crew in turn, there and back again: what is compared is how fast a campaign of weeks fuzzes,
not how fast the first findings are minimised. Prints schedules a second and the ratio to one
worker. Nothing else should run meanwhile.

    python -m bench.workers [--vendor V] [--seconds S] [--workers N]
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from variants.machine.step import VENDORS

ROOT = Path(__file__).parent.parent


def campaign(out: Path, *options: str) -> int:
    """Run a session of the campaign in `out`; how many schedules it has run in all."""
    command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--out", str(out), "--json", *options]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if ran.returncode != 1:
        sys.exit(ran.stderr)
    schedules: int = json.loads(ran.stdout)["schedules"]
    return schedules


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.workers")
    parser.add_argument("--vendor", choices=VENDORS, default="svm")
    parser.add_argument("--seconds", type=int, default=60, help="of a session (60)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    number, time = str(options.workers), str(options.seconds)
    crews = [("--workers", "1"), ("--workers", number), ("--cluster", number)]
    rates: dict[tuple[str, str], list[float]] = {crew: [] for crew in crews}
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        begun = Path(folder) / "begun"
        ends = ["--until-complete", str(ROOT / "corpus" / "exhaustive.json"), "--time", "600"]
        before = campaign(begun, "--vendor", options.vendor, "--seed", "1", *ends)
        for crew in (*crews, *reversed(crews)):
            out = Path(folder) / "campaign"
            shutil.copytree(begun, out)
            ran = campaign(out, "--resume", "--time", time, *crew) - before
            rates[crew].append(ran / options.seconds)
            shutil.rmtree(out)
    one = sum(rates[crews[0]])
    for crew, some in rates.items():
        each = ", ".join(f"{value:,.0f}" for value in some)
        print(f"{' '.join(crew):<12} {each:>20} schedules/s, {sum(some) / one:.2f} times")


if __name__ == "__main__":
    main()
