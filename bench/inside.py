"""What looking into KVM costs: `python -m bench.inside [--variant NAME] [--vendor V]`.

The same schedules, in kept VMs, on three: the plain build, the instrumented one idle, and that with
the blocks that each schedule reaches told. In turns, a boot for each, a few rounds; what a boot
with one schedule takes is taken away. Seconds are the emulator's processor time, so other work on
the machine hardly changes them, and ratios are of one round each.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from bench.live import seconds
from fuzz.live.sample import sample
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import schedule_json
from variants.catalogue import choose
from variants.live.cache import builds
from variants.live.emulator import LiveError
from variants.live.inside import SUFFIX
from variants.live.protocol import COVERAGE, NOT_INSIDE
from variants.live.runner import Build, run
from variants.live.semantic import BASE
from variants.machine.step import VENDORS, Vendor

PLAIN: Final = "plain"
IDLE: Final = "instrumented, idle"
TOLD: Final = "instrumented, coverage"


def took(build: Build, vendor: Vendor, schedules: Sequence[Schedule], inside: int) -> float:
    """Seconds of processor time, the boot included."""
    start = seconds()
    run(list(map(schedule_json, schedules)), build, vendor, fresh=False, inside=inside)
    return seconds() - start


def rounds(
    kinds: dict[str, tuple[Build, int]], vendor: Vendor, schedules: Sequence[Schedule], count: int
) -> dict[str, list[float]]:
    """By kind, the schedules a second of each round, without the boot."""
    boots: dict[str, list[float]] = {kind: [] for kind in kinds}
    wholes: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(count):
        for kind, (build, inside) in kinds.items():
            boots[kind].append(took(build, vendor, schedules[:1], inside))
            wholes[kind].append(took(build, vendor, schedules, inside))
    return {
        kind: [(len(schedules) - 1) / (whole - median(boots[kind])) for whole in wholes[kind]]
        for kind in kinds
    }


def line(rates: dict[str, list[float]], kind: str) -> str:
    """The rate of a kind, and what that is of the plain build's."""
    ratios = [one / plain for one, plain in zip(rates[kind], rates[PLAIN], strict=True)]
    of_plain = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{kind}: {median(rates[kind]):.0f} schedules a second, of the plain build's {of_plain}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.inside", description=__doc__)
    parser.add_argument("--cache", type=Path, metavar="DIR")
    parser.add_argument("--variant", default=BASE, metavar="NAME", help=f"({BASE})")
    parser.add_argument("--vendor", choices=VENDORS)
    parser.add_argument("--schedules", type=int, default=300, metavar="N", help="from 2 (300)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(3)")
    options = parser.parse_args()
    try:
        plain, instrumented = builds(
            options.cache, [options.variant, options.variant + SUFFIX]
        ).values()
        kinds = {
            PLAIN: (plain, NOT_INSIDE),
            IDLE: (instrumented, NOT_INSIDE),
            TOLD: (instrumented, COVERAGE),
        }
        for vendor in (options.vendor,) if options.vendor else VENDORS:
            chosen = sample(vendor, choose("", []), max(2, options.schedules)).schedules
            rates = rounds(kinds, vendor, chosen, max(1, options.rounds))
            print(f"{vendor}, {options.variant}, {len(chosen)} schedules, {options.rounds} rounds:")
            for kind in kinds:
                print(f"  {line(rates, kind)}", flush=True)
    except LiveError as error:
        print(f"bench.inside: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
