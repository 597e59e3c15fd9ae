"""Live schedules per second and boot: `python -m bench.live [--cache DIR]`.

Runs the first of conform's samples on one variant in one emulator: one schedule for the time a boot
takes, then as many as asked for, in kept VMs and in fresh ones; then their first 3 to 6 steps on
two variants, a boot for each batch and in guests that are up. With --cases, schedules of one kind
each instead: what costs what. Seconds are the emulator's processor time: other work on the machine
hardly changes them.
"""

import argparse
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

from fuzz.live.sample import sample
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import schedule_json
from variants.catalogue import choose
from variants.live.cache import builds
from variants.live.emulator import LiveError
from variants.live.guests import Guests, guests
from variants.live.runner import Build, Report, run, run_variants
from variants.machine.step import VENDORS, Step, Vendor

NOP: Final = Step("nop", 1)
CASES: Final = {
    "no step": (),
    "16 nop": (NOP,) * 16,
    "8 vmrun, 8 vmmcall": (Step("vmrun", 1), Step("vmmcall", 1)) * 8,
    "16 blocked": (Step("hlt", 1), *(NOP,) * 15),
    "4 busy": (Step("nmi", 1), Step("set-mp-state", 1, mode="INIT_RECEIVED"), *(NOP,) * 4),
    "4 save-restore": (Step("save-restore", 1),) * 4,
}

PAIR: Final = ("original", "paolo")
BATCHES: Final = 3


def seconds() -> float:
    """Processor time of the emulators that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(
    build: Build, vendor: Vendor, schedules: Sequence[Schedule], fresh: bool
) -> tuple[float, Report, int]:
    """Seconds of processor time, boots included; the report; the number of steps."""
    plain = [schedule_json(schedule) for schedule in schedules]
    report = Report([])
    start = seconds()
    traces = run(plain, build, vendor, report, fresh=fresh)
    return seconds() - start, report, sum(map(len, traces))


def line(
    build: Build, vendor: Vendor, boot: float, schedules: Sequence[Schedule], fresh: bool
) -> str:
    took, report, steps = timed(build, vendor, schedules, fresh)
    rate = (len(schedules) - 1) / max(took - boot, 0.001)
    return (
        f"{len(schedules)} schedules of {steps / len(schedules):.0f} steps in "
        f"{'fresh' if fresh else 'kept'} VMs, {took:.1f} s and {report.boots} boots: "
        f"{rate:.0f} schedules a second and boot, "
        f"{report.milliseconds / len(schedules):.0f} ms of guest time each"
    )


def short(schedules: Sequence[Schedule]) -> list[Schedule]:
    return [one._replace(steps=one.steps[: 3 + n % 4]) for n, one in enumerate(schedules)]


def used(
    those: Mapping[str, Build],
    vendor: Vendor,
    schedules: Sequence[Schedule],
    count: int,
    up: Guests | None,
) -> tuple[float, float]:
    """Seconds of processor time and of the clock for `count` batches; `up` has no guest after."""
    plain = [schedule_json(schedule) for schedule in schedules]
    start, began = seconds(), perf_counter()
    for _ in range(count):
        run_variants(plain, those, vendor, len(those), fresh=False, guests=up)
    ended = perf_counter()
    if up:
        up.close()
    return seconds() - start, ended - began


def guests_line(those: Mapping[str, Build], vendor: Vendor, schedules: Sequence[Schedule]) -> str:
    """What a short batch costs by boots, and in guests that are up."""
    boots = [used(those, vendor, schedules, 1, None) for _ in range(BATCHES)]
    with guests() as up:
        more = used(those, vendor, schedules, 1 + BATCHES, up)
    booted, by_clock = (sum(one[kind] for one in boots) / BATCHES for kind in (0, 1))
    kept, kept_clock = ((more[kind] - (booted, by_clock)[kind]) / BATCHES for kind in (0, 1))
    steps = sum(len(one.steps) for one in schedules)
    return (
        f"{len(schedules)} schedules of {steps / len(schedules):.1f} steps, {len(those)} variants: "
        f"by boots {booted:.1f} s ({by_clock:.1f} s by the clock), in guests that are up "
        f"{kept:.1f} s ({kept_clock:.1f} s), {booted / kept:.1f} times as fast"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument("--cache", type=Path, metavar="DIR")
    parser.add_argument("--vendor", choices=VENDORS)
    parser.add_argument("--schedules", type=int, default=100, metavar="N", help="from 2 (100)")
    parser.add_argument("--cases", action="store_true", help="what costs what (SVM)")
    options = parser.parse_args()
    count = max(2, options.schedules)
    try:
        those = builds(options.cache, PAIR)
        build = those[PAIR[0]]
        one: tuple[Vendor, ...] = ("svm",) if options.cases else ()
        given: tuple[Vendor, ...] = (options.vendor,) if options.vendor else VENDORS
        for vendor in one or given:
            chosen = sample(vendor, choose("", []), count).schedules
            boot, _, _ = timed(build, vendor, chosen[:1], fresh=True)
            print(f"{vendor}: boot and one schedule {boot:.1f} s", flush=True)
            sets: dict[str, Sequence[Schedule]] = {vendor: chosen}
            if options.cases:
                sets = {
                    name: (Schedule(vendor, 2, steps, name),) * count
                    for name, steps in CASES.items()
                }
            for name, schedules in sets.items():
                for fresh in (False, True):
                    print(f"{name}: {line(build, vendor, boot, schedules, fresh)}", flush=True)
            if not options.cases:
                print(f"{vendor}: {guests_line(those, vendor, short(chosen))}", flush=True)
    except LiveError as error:
        print(f"bench.live: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
