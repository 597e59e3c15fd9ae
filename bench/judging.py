"""What does the judge cost a campaign?

Runs the same campaign in turns with the judge and without it, and compares how many schedules they
ran in the same time, and how long they took to end: with the judge what is in the corpus is judged
when time is up.

    python -m bench.judging [--seconds S] [--pairs N]
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from fuzz.campaign.judging import Breaking
from fuzz.cli.main import main as eventdiff


class Campaign(NamedTuple):
    """schedules: how many it ran. seconds: until its end."""

    schedules: int
    seconds: float


def campaign(judged: bool, seconds: int, seed: int, out: str) -> None:
    """A campaign in this process."""
    if not judged:
        Breaking.take = lambda *_: None  # type: ignore[method-assign]
    with contextlib.redirect_stdout(io.StringIO()):
        eventdiff(["fuzz", "--time", str(seconds), "--seed", str(seed), "--out", out])


def ran(judged: bool, seconds: int, seed: int) -> Campaign:
    """A campaign in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        out = Path(folder) / "campaign"
        arguments = (judged, seconds, seed, str(out))
        process = multiprocessing.get_context("spawn").Process(target=campaign, args=arguments)
        began = time.monotonic()
        process.start()
        process.join()
        schedules = json.loads((out / "campaign.json").read_text())["schedules"]
        return Campaign(schedules, time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.judging")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for number in range(options.pairs):
        order = (True, False) if number % 2 else (False, True)
        pair = {judged: ran(judged, options.seconds, number + 1) for judged in order}
        ratios.append(pair[True].schedules / pair[False].schedules)
        told = [
            f"{one.schedules:,} schedules, {one.seconds:.0f} s" for _, one in sorted(pair.items())
        ]
        print(f"not judged: {told[0]}; judged: {told[1]}; rate {ratios[-1]:.2f}", flush=True)
    print(f"rate with the judge: {median(ratios):.2f} of that without, in the median")


if __name__ == "__main__":
    main()
