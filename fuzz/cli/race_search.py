"""`eventdiff live races` without schedules: a search for messages that are lost."""

import argparse
import json
import time
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from random import Random
from typing import Final

from fuzz.cli.output import TELLING
from fuzz.cli.status import DIFFERENT, SAME
from fuzz.compare.compared import compared
from fuzz.live.cover import covering
from fuzz.live.landings import Instrumented, prepared, races_in
from fuzz.live.race_search import Search, mode_of
from fuzz.live.race_shrink import Smallest
from fuzz.live.race_states import beginnings, some_races
from fuzz.live.races_text import races_json, smallest_text
from fuzz.schedule.file import read_schedule, write_whole
from variants.catalogue import built_in
from variants.live.cache import cache_folder
from variants.live.runner import Build
from variants.live.semantic import BASE
from variants.machine.step import VENDORS, Vendor

OUT: Final = Path("reports/races")
SECONDS: Final = 600
ROUND_SECONDS: Final = 20.0
"""How long a round should take where nothing is found."""
MOST_A_ROUND: Final = 64


def search(kernels: Mapping[str, Build], options: argparse.Namespace) -> int:
    """Look at races until --time is over, write and print the smallest of each that loses its
    message in a new way: 1 if any does, also one of before."""
    vendors = [vendor for vendor in VENDORS if options.vendor in (None, vendor)]
    options.out.mkdir(parents=True, exist_ok=True)
    with prepared(kernels, TELLING) as there:
        end = time.monotonic() + options.time
        searches = {vendor: begun(vendor, there, options) for vendor in vendors}
        spent = dict.fromkeys(vendors, 0.0)
        while (now := time.monotonic()) < end:
            vendor = min(vendors, key=spent.__getitem__)
            one = searches[vendor]
            before = len(one.found)
            for found in one.look():
                tell(found, there, options)
            took = time.monotonic() - now
            spent[vendor] += took
            if len(one.found) == before:
                one.count = max(1, min(MOST_A_ROUND, round(one.count * ROUND_SECONDS / took)))
    for vendor, one in searches.items() if not options.json else ():
        print(f"{vendor}: {totals(one)}")
    return DIFFERENT if any(one.found for one in searches.values()) else SAME


def begun(vendor: Vendor, there: Mapping[str, Instrumented], options: argparse.Namespace) -> Search:
    """A search that knows what --out has."""
    machine = compared(vendor, [built_in()[BASE]]).machines[0]
    with TELLING.ticking(f"{vendor}: states with an event pending") as tick:
        schedules = covering(vendor, cache_folder(options.cache).resolve(), tick).schedules
        every = beginnings(machine, schedules)
    begun = Search(there, some_races(machine, every, Random(options.seed)), Random(options.seed))
    for path in sorted(options.out.glob("*.yaml")):
        for race in races_in(read_schedule(str(path), blocks=True)):
            if race.schedule.vendor == vendor:
                begun.know(race)
    return begun


def tell(found: Smallest, there: Mapping[str, Instrumented], options: argparse.Namespace) -> None:
    """Write and print what was found."""
    blocks = {name: one.blocks for name, one in there.items()}
    race, loss = found.race, found.lost
    step = race.schedule.steps[race.step]
    name = f"{race.schedule.vendor}-{mode_of(race)}-in-{step.op}-{loss.rule}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    name = next(one for one in names if not (options.out / f"{one}.yaml").exists())
    named = found._replace(race=race._replace(schedule=race.schedule._replace(name=name)))
    text = smallest_text(named, blocks)
    path = options.out / f"{name}.yaml"
    write_whole(path, text)
    if options.json:
        told = races_json(named.race, found.told, blocks)
        about = {"file": str(path), "rule": loss.rule, "lost_by": list(loss.first)}
        print(json.dumps({**about, **told}), flush=True)
    else:
        print(f"{path}:\n{text}", flush=True)


def totals(one: Search) -> str:
    """What a search has come to."""
    said = f"{one.looked} races at {one.landings} blocks; {len(one.found)} losses"
    said += f", the same in {one.again} more races" if one.again else ""
    return said + (f"; {one.unsteady} races lose theirs not again" if one.unsteady else "")
