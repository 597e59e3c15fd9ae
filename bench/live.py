"""Live schedules per second and boot: `python -m bench.live [--cache DIR]`.

Runs the first of conform's samples on one variant, one emulator at a time, twice: one schedule for
the time a boot takes, then as many as asked for.
"""

import argparse
import sys
import time
from pathlib import Path

import yaml

from fuzz.sample import sample
from fuzz.schedule_yaml import dump
from fuzz.variant_list import choose
from variants.live.cache import builds
from variants.live.emulator import LiveError
from variants.live.runner import Report, run
from variants.machine.step import VENDORS, Vendor


def measure(vendor: Vendor, count: int, cache: Path | None) -> str:
    build = builds(cache, ["original"])["original"]
    schedules = [yaml.safe_load(dump(one)) for one in sample(vendor, choose("", []), count)[0]]
    start = time.monotonic()
    run(schedules[:1], build, vendor, Report([]))
    booted = time.monotonic()
    report = Report([])
    traces = run(schedules, build, vendor, report)
    took = time.monotonic() - booted
    boot = booted - start
    steps = [step for trace in traces for step in trace]
    outcomes = [step["outcome"] for step in steps]
    return (
        f"{vendor}: boot and one schedule {boot:.1f} s; {len(schedules)} schedules of "
        f"{len(steps) / len(schedules):.0f} steps in {took:.1f} s and {report.boots} boots: "
        f"{(len(schedules) - 1) / (took - boot):.0f} schedules a second and boot "
        f"({outcomes.count('blocked')} steps blocked, {outcomes.count('busy')} busy)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument("--cache", type=Path, metavar="DIR")
    parser.add_argument("--vendor", choices=VENDORS)
    parser.add_argument("--schedules", type=int, default=100, metavar="N", help="from 2 (100)")
    options = parser.parse_args()
    try:
        for vendor in [options.vendor] if options.vendor else VENDORS:
            print(measure(vendor, max(2, options.schedules), options.cache), flush=True)
    except LiveError as error:
        print(f"bench.live: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
