"""`eventdiff live races`: a message at each basic block of a step, on instrumented builds."""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from fuzz.cli.ends import duration
from fuzz.cli.kernels import add_cache, instrumented_builds
from fuzz.cli.output import TELLING, complain
from fuzz.cli.race_search import OUT, SECONDS, search
from fuzz.cli.status import DIFFERENT, SAME, TROUBLE
from fuzz.compare.compared import compared
from fuzz.live.landings import Instrumented, Race, prepared, races_in, without
from fuzz.live.race_models import Agreement, points_of
from fuzz.live.race_shrink import Smallest, likely_on, lost, smallest, swept
from fuzz.live.races import Told, on_build
from fuzz.live.races_text import race_totals, races_json, races_table, races_text, smallest_text
from fuzz.live.run import why, why_not
from fuzz.schedule.file import files_in, read_schedule
from variants.catalogue import built_in
from variants.live.emulator import LiveError
from variants.live.inside import SUFFIX
from variants.live.runner import Build
from variants.live.semantic import BASE
from variants.machine.machine import Machine
from variants.machine.step import VENDORS, Vendor

EPILOG = """\
examples:
  eventdiff live setup --kernel 7.3 --instrument original --instrument linux-7.3
  eventdiff live races --variants original,linux-7.3 corpus/seeds/svm-init-startup.yaml
  eventdiff live races --variants original,paolo --minimize corpus/seeds
  eventdiff live races --variants linux-7.3 --vendor svm --time 30m    # search for lost messages

exit status: 0 each message as before the step or as after it, and none lost; 1 some are not;
2 trouble, or something that did not show again
"""


def add_races(subcommands: "argparse._SubParsersAction[Any]") -> None:
    """Add `races` to the sub-commands of `eventdiff live`."""
    about = "A message at each basic block of a step, on instrumented builds: what comes of it."
    racing = subcommands.add_parser(
        "races",
        help=about,
        description=about,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    racing.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="schedules, or folders of them: the messages with `at`, those in a row with the same "
        "`at` together; of a schedule without, each message to one other vCPU, during that vCPU's "
        "step before it and the one after. Without FILE, races in states with an event pending "
        "are looked through for messages that are lost: that break a rule of the manuals, or hang "
        "the vCPU, where they do so neither before nor after the step",
    )
    racing.add_argument("--variants", default="", metavar="A,B,..", help=f"({BASE})")
    racing.add_argument("--json", action="store_true", help="one object a line")
    racing.add_argument(
        "--minimize",
        action="store_true",
        help="of each race of FILE that loses its message the smallest, as YAML; rather one that "
        "not all variants lose",
    )
    searching = racing.add_argument_group("without FILE")
    searching.add_argument(
        "--time",
        type=duration,
        default=SECONDS,
        metavar="T",
        help="look at further races for so long: 90, 10m, 6h (10m)",
    )
    searching.add_argument("--vendor", choices=VENDORS, help="only this one")
    searching.add_argument("--seed", type=int, default=1, metavar="N", help="other races (1)")
    searching.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="DIR",
        help=f"the smallest race of each loss; what is there is known already ({OUT})",
    )
    add_cache(racing)


def do_races(options: argparse.Namespace) -> int:
    """The races of schedules: 1 if a message has an outcome that it has neither before nor after
    the step, 2 if what was told did not show again or a run broke off."""
    kernels = instrumented_builds(options)
    if not options.files:
        return search(kernels, options)
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
                status = max(status, run_races(mine, there, options.json))
    return status


def run_races(
    races: Sequence[Race],
    there: Mapping[str, Instrumented],
    as_json: bool,
) -> int:
    """Run races, all of one vendor, and tell those of each schedule when they have run, then what
    they came to: the exit status."""
    blocks = {name: one.blocks for name, one in there.items()}
    machines = machines_of(races[0].schedule.vendor, there)
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
    """Print the smallest of each race that loses its message: 1 if there is one."""
    status = SAME
    with prepared(kernels, TELLING) as there:
        blocks = {name: one.blocks for name, one in there.items()}
        sweep, likely = partial(swept, there), partial(likely_on, there)
        for race in found:
            told = sweep(race)
            if losses := lost(told):
                status = DIFFERENT
                best = smallest(Smallest(race, told, losses[0]), sweep, likely)
                print(smallest_text(best, blocks), flush=True)
            else:
                complain(f"{race.schedule.name}: no message is lost")
    return status


def machines_of(vendor: Vendor, kernels: Iterable[str]) -> dict[str, Machine]:
    """The project's own models of instrumented builds, by the builds' names."""
    own = built_in()
    modelled = [name for name in kernels if name.removesuffix(SUFFIX) in own]
    if not modelled:
        return {}
    subject = compared(vendor, [own[name.removesuffix(SUFFIX)] for name in modelled])
    return dict(zip(modelled, subject.machines, strict=True))
