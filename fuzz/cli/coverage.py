"""`eventdiff live run --coverage`: which blocks of KVM's event path are reached, and why not."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from fuzz.cli.kernels import instrumented_builds
from fuzz.cli.output import TELLING
from fuzz.cli.status import SAME, TROUBLE
from fuzz.live.cover import covering
from fuzz.live.coverage import (
    coverage_json,
    event_path,
    function_of,
    reached_by,
    table,
    totals,
)
from fuzz.live.run import MORE_THAN_CORES
from fuzz.live.unreached import Context, Reason, contexts, read_reasons, why_of
from fuzz.schedule.file import files_in, read_schedule
from fuzz.schedule.schedule import races
from variants.live.cache import cache_folder
from variants.live.inside import Block, read_blocks, read_flow
from variants.live.runner import Build, modules_of
from variants.machine.step import VENDORS


def do_coverage(options: argparse.Namespace) -> int:
    """Which blocks of the event path are reached, and why others are not: a table for each vendor
    and variant; 2 if a run broke off."""
    status = SAME
    kernels = instrumented_builds(options)
    given = [read_schedule(path) for path in files_in(options.files)]
    reasons = read_reasons()
    where = {name: contexts(build.modules, function_of) for name, build in kernels.items()}
    for vendor in VENDORS:
        schedules = [one for one in given if one.vendor == vendor and not races(one)]
        if not options.files:
            with TELLING.ticking(f"{vendor}: making the covering set") as tick:
                covering_set = covering(vendor, cache_folder(options.cache).resolve(), tick)
            schedules = list(covering_set.schedules)
        if not schedules:
            continue
        reached, whole = reached_by(schedules, kernels, TELLING, MORE_THAN_CORES)
        status = status if whole else TROUBLE
        for name, build in kernels.items():
            functions = event_path(build, reached[name], modules_of(vendor))
            before = read_flow(build.modules)
            because = why_of(reasons, where[name], before, reached[name])
            if options.json:
                about = {"variant": name, "vendor": vendor, "schedules": len(schedules)}
                told = {**about, "functions": coverage_json(functions, because)}
                print(json.dumps(told), flush=True)
                continue
            print(f"{vendor}, {name}, {len(schedules)} schedules:\n")
            print("\n".join([*table(functions, because), ""]))
            print("\n".join([*totals(functions, reasons, where[name], because), ""]), flush=True)
    for line in idle_reasons(kernels, reasons, where) if not options.json else ():
        print(line)
    return status


def idle_reasons(
    kernels: Mapping[str, Build],
    reasons: Sequence[Reason],
    where: Mapping[str, Callable[[Block], Context]],
) -> Iterator[str]:
    """A line if there are reasons that fit nothing in these kernels."""
    idle = dict.fromkeys(reasons)
    for name, build in kernels.items():
        places = [where[name](block) for block in read_blocks(build.modules) if function_of(block)]
        for reason in list(idle):
            if any(map(reason.fits, places)):
                del idle[reason]
    if idle:
        yield f"reasons for nothing in these kernels: {'; '.join(one.why for one in idle)}"
