"""`eventdiff live races` and `live run --coverage`: KVM from inside, on instrumented builds."""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from fuzz.cli.kernels import add_cache
from fuzz.cli.output import TELLING, complain
from fuzz.cli.status import DIFFERENT, SAME, TROUBLE
from fuzz.compare.compared import compared
from fuzz.live.cover import covering
from fuzz.live.coverage import (
    coverage_json,
    event_path,
    function_of,
    reached_by,
    table,
    totals,
)
from fuzz.live.landings import Instrumented, Race, prepared, races_in, without
from fuzz.live.race_models import Agreement, points_of
from fuzz.live.race_shrink import likely_on, minimised, swept
from fuzz.live.races import Told, on_build
from fuzz.live.races_text import (
    Blocks,
    race_totals,
    races_json,
    races_table,
    races_text,
    smallest_text,
)
from fuzz.live.run import MORE_THAN_CORES, why, why_not
from fuzz.live.unreached import Context, Reason, contexts, read_reasons, why_of
from fuzz.schedule.file import files_in, read_schedule
from fuzz.schedule.schedule import races
from variants.catalogue import built_in
from variants.live.cache import builds, cache_folder
from variants.live.emulator import LiveError
from variants.live.inside import SUFFIX, Block, read_blocks, read_flow
from variants.live.runner import Build, modules_of
from variants.live.semantic import BASE
from variants.machine.machine import Machine
from variants.machine.step import VENDORS, Vendor


def add_races(subcommands: "argparse._SubParsersAction[Any]") -> None:
    """Add `races` to the sub-commands of `eventdiff live`."""
    about = "A message at each basic block of a step, on instrumented builds: what comes of it."
    racing = subcommands.add_parser("races", help=about, description=about)
    racing.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="schedules, or folders of them: the messages with `at`; of a schedule without, each "
        "message to one other vCPU, during that vCPU's step before it and the one after",
    )
    racing.add_argument("--variants", default="", metavar="A,B,..", help=f"({BASE})")
    racing.add_argument("--json", action="store_true", help="one object a line")
    racing.add_argument(
        "--minimize",
        action="store_true",
        help="of each race that some variants lose and others do not the smallest, as YAML: a "
        "message is lost where it breaks a rule that it breaks neither before nor after the step",
    )
    add_cache(racing)


def instrumented_builds(options: argparse.Namespace) -> dict[str, Build]:
    """Those of --variants, or of the base."""
    names = (options.variants or BASE).split(",")
    return builds(options.cache, [name.removesuffix(SUFFIX) + SUFFIX for name in names])


def do_races(options: argparse.Namespace) -> int:
    """The races of schedules: 1 if a message has an outcome that it has neither before nor after
    the step, 2 if what was told did not show again or a run broke off."""
    kernels = instrumented_builds(options)
    found = []
    for path in files_in(options.files):
        for race in races_in(read_schedule(path, blocks=True)):
            if reason := why_not(without(race), kernels):
                complain(f"{race.schedule.name}: not run: {reason}")
            else:
                found.append(race)
    if not found:
        raise LiveError(
            "no message to one other vCPU, of those that take a step, in these schedules"
        )
    if options.minimize:
        return minimize(found, kernels)
    status = SAME
    with prepared(kernels, TELLING) as there:
        for vendor in VENDORS:
            if mine := [race for race in found if race.schedule.vendor == vendor]:
                status = max(status, run_races(mine, there, kernels, options.json))
    return status


def run_races(
    races: Sequence[Race],
    there: Mapping[str, Instrumented],
    kernels: Mapping[str, Build],
    as_json: bool,
) -> int:
    """Run races, all of one vendor, and tell those of each schedule when they have run, then what
    they came to: the exit status."""
    blocks = blocks_of(kernels)
    machines = machines_of(races[0].schedule.vendor, kernels)
    agreements = dict.fromkeys(machines, Agreement())
    every: dict[str, list[Told]] = {name: [] for name in there}
    status = SAME
    for _, group in groupby(races, lambda race: race.schedule.name):
        some = list(group)
        for name, build in there.items():
            every[name] += on_build(some, build)
        told = {name: of_all[-len(some) :] for name, of_all in every.items()}
        for number, race in enumerate(some):
            of_race = {name: of_all[number] for name, of_all in told.items()}
            models = {name: points_of(race, machine) for name, machine in machines.items()}
            for name, points in models.items():
                agreements[name] = agreements[name].plus(of_race[name], points)
            for one in of_race.values():
                neither = any(not part.like for part in one.intervals)
                wrong = any(not part.sure or why(part.trace) for part in one.intervals)
                status = max(status, TROUBLE if wrong else DIFFERENT if neither else SAME)
            if as_json:
                print(json.dumps(races_json(race, of_race, blocks)), flush=True)
            else:
                print("\n".join([*races_text(race, of_race, blocks, models), ""]), flush=True)
    if not as_json:
        print("\n".join([*races_table(races, every), ""]), flush=True)
        for name, of_all in every.items():
            said = f"; {agreements[name]}" if name in agreements else ""
            vendor = races[0].schedule.vendor
            print(f"{vendor}, {name}: {race_totals(of_all)}{said}", flush=True)
    return status


def minimize(found: Sequence[Race], kernels: Mapping[str, Build]) -> int:
    """Print the smallest of each race that some of the variants lose and others do not: 1 if there
    is one."""
    blocks = blocks_of(kernels)
    status = SAME
    with prepared(kernels, TELLING) as there:
        for race in found:
            sweep, likely = partial(swept, there), partial(likely_on, there)
            if smallest := minimised(race, sweep, likely):
                status = DIFFERENT
                print(smallest_text(smallest, blocks), flush=True)
            else:
                complain(f"{race.schedule.name}: no message that some lose and others do not")
    return status


def blocks_of(kernels: Mapping[str, Build]) -> dict[str, Blocks]:
    """The blocks of instrumented builds, by where they are."""
    return {
        name: {block.place: block for block in read_blocks(build.modules)}
        for name, build in kernels.items()
    }


def machines_of(vendor: Vendor, kernels: Iterable[str]) -> dict[str, Machine]:
    """The project's own models of instrumented builds, by the builds' names."""
    own = built_in()
    modelled = [name for name in kernels if name.removesuffix(SUFFIX) in own]
    if not modelled:
        return {}
    subject = compared(vendor, [own[name.removesuffix(SUFFIX)] for name in modelled])
    return dict(zip(modelled, subject.machines, strict=True))


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
