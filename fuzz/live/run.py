"""Schedules on live variants: run them, and what their traces tell."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import product
from random import Random
from typing import Final, NamedTuple

from fuzz.compare.traces import Split, Trace, Traces, first_difference, observation_of, splits
from fuzz.live.quirks import quirk_of
from fuzz.schedule.schedule import Schedule, races
from fuzz.schedule.text import schedule_json
from variants.live.bochs import Version
from variants.live.guests import Guests
from variants.live.host import HostAgent
from variants.live.inside import is_instrumented
from variants.live.landing import landing_in
from variants.live.observe import why_broken
from variants.live.protocol import LANDED, NOT_INSIDE, Landing, Refused, encode, nowhere
from variants.live.runner import NOT_RUN, Build, run_variants
from variants.machine.step import VENDORS

MORE_THAN_CORES: Final = (os.cpu_count() or 1) + 1
"""One more: emulators do not all compute all the time."""
FEW: Final = 40
"""Schedules that are not worth keeping VMs for."""
SHARE: Final = 20

Parts = Callable[[int, Traces], bool]
"""Of a schedule's number and its live traces."""


class Telling(NamedTuple):
    """How a run is told of while it lasts.

    trouble: called with a line for what went wrong with a schedule. ticking: given what runs, a
    context; the function it gives is called now and then.
    """

    trouble: Callable[[str], None]
    ticking: Callable[[str], AbstractContextManager[Callable[[], None]]]


def run_live(
    schedules: Sequence[Schedule],
    builds: Mapping[str, Build | HostAgent],
    telling: Telling,
    parallel: int = MORE_THAN_CORES,
    parts: Parts = lambda _, live: bool(live_splits(live)),
    seed: int = 1,
) -> list[Traces]:
    """Each schedule's traces by variant, in order; {} for one with a race that the builds cannot
    have (`why_not`). Races run on the instrumented twins of `builds`.

    parallel: emulators at a time. parts: is what a schedule showed to be told of? Then it is run
    again in a VM of its own, and that counts. seed: of the choice of others to run so too. Where a
    run breaks off its trace ends, with outcome `error`. Raises LiveError when nothing can be run.
    """
    found: list[Traces] = [{} for _ in schedules]
    for vendor, racing in product(VENDORS, (False, True)):
        mine = [
            number
            for number, schedule in enumerate(schedules)
            if schedule.vendor == vendor
            and races(schedule) == racing
            and not why_not(schedule, builds)
        ]
        suited = {name: with_callbacks(one) if racing else one for name, one in builds.items()}
        run = partial(run_some, schedules, suited, telling, parallel)
        settled, wrong = settle(mine, run, parts, seed)
        for number in wrong:
            name = schedules[number].name
            telling.trouble(f"live: {name}: not so in a VM that was kept, so all run in fresh ones")
        for number, traces in settled.items():
            found[number] = traces
    return found


def run_some(
    schedules: Sequence[Schedule],
    builds: Mapping[str, Build | HostAgent],
    telling: Telling,
    parallel: int,
    numbers: Sequence[int],
    fresh: bool,
) -> list[Traces]:
    """`run_once` of those of `schedules` that are numbered."""
    some = [schedules[number] for number in numbers]
    return run_once(some, builds, telling, parallel, fresh) if some else []


def why_not(schedule: Schedule, builds: Mapping[str, Build | HostAgent]) -> str:
    """Why the builds cannot have the schedule's races, "" if they can."""
    if not races(schedule):
        return ""
    for name, one in builds.items():
        try:
            encode(0, schedule_json(schedule), landing=landing_on(with_callbacks(one)))
        except Refused as refused:
            return f"{name}: {refused}"
    return ""


def with_callbacks(build: Build | HostAgent) -> Build | HostAgent:
    """The instrumented twin of a build, if there is one."""
    if isinstance(build, Build) and build.inside:
        return replace(build, modules=build.inside)
    return build


def landing_on(build: Build | HostAgent) -> Landing:
    """Where messages land that come while a vCPU is in KVM's loop."""
    if isinstance(build, Build) and is_instrumented(build.modules):
        return landing_in(build.modules)
    return nowhere


def settle(
    numbers: Sequence[int],
    run: Callable[[Sequence[int], bool], list[Traces]],
    parts: Parts,
    seed: int,
) -> tuple[dict[int, Traces], list[int]]:
    """What schedules show by number, and those of which a kept VM showed it wrongly.

    run: in fresh VMs or in kept ones. A few are run in fresh VMs only. Of more, those that part or
    break off are run again in fresh VMs, and one in `SHARE` of the others; if any of these shows
    something else than before, other than one that broke off, then all are.
    """
    if len(numbers) <= FEW:
        return dict(zip(numbers, run(numbers, True), strict=True)), []
    found = dict(zip(numbers, run(numbers, False), strict=True))
    told = [number for number in numbers if parts(number, found[number]) or breaks(found[number])]
    others = sorted(set(numbers) - set(told))
    checked = Random(seed).sample(others, -(-len(others) // SHARE))
    again = sorted([*told, *checked])
    fresh = dict(zip(again, run(again, True), strict=True))
    wrong = [
        number for number in again if fresh[number] != found[number] and not breaks(found[number])
    ]
    if wrong:
        rest = sorted(set(numbers) - set(again))
        fresh |= dict(zip(rest, run(rest, True), strict=True))
    return found | fresh, wrong


def run_once(
    schedules: Sequence[Schedule],
    builds: Mapping[str, Build | HostAgent],
    telling: Telling,
    parallel: int,
    fresh: bool,
    most_broken: int | None = None,
    guests: Guests | None = None,
) -> list[Traces]:
    """The traces of schedules, all of one vendor, by variant; troubles are told.

    most_broken: how many may end a variant's emulator. What is not run then has {} for traces.
    guests: where one is up, a short batch needs no boot (variants/live/guests.py).
    """
    vendor, plain = schedules[0].vendor, [schedule_json(schedule) for schedule in schedules]
    where = " in fresh VMs" if fresh else ""
    inside = LANDED if any(map(races, schedules)) else NOT_INSIDE
    landings = {name: landing_on(build) for name, build in builds.items()}
    what = f"{vendor}: {len(plain)} schedules on {' '.join(builds)}{where}"
    with telling.ticking(what) as tick:
        traces, reports = run_variants(
            plain, builds, vendor, parallel, tick, fresh, most_broken, guests, inside, landings
        )
    for name, report in reports.items():
        for trouble in report.troubles:
            telling.trouble(f"live {name}: {trouble}")
    found: list[Traces] = [
        {name: tuple(map(observation_of, of_all[at])) for name, of_all in traces.items()}
        for at in range(len(plain))
    ]
    return [{} if NOT_RUN in map(why, one.values()) else one for one in found]


def why(trace: Trace) -> str:
    """Why a live run broke off, "" if it did not."""
    return why_broken(trace[-1].warn) if trace else ""


def known(trace: Trace) -> Trace:
    """A live trace as far as it was observed: where the run broke off, nothing was."""
    return trace[:-1] if why(trace) else trace


def unlike(models: Traces, live: Traces) -> bool:
    """Does real KVM do otherwise than the model of its variant, as far as it was observed?

    Kernels that have no model are not looked at.
    """
    both = models.keys() & live.keys()
    return any(first_difference(models[name], known(live[name])) is not None for name in both)


def live_splits(traces: Traces) -> list[Split]:
    """Where live variants part; one whose run broke off is in no group from there on."""
    return splits({name: known(trace) for name, trace in traces.items()})


def breaks(traces: Traces) -> list[str]:
    """The variants whose run broke off, a line each."""
    return [
        f"{name} broke off at step {len(known(trace))}: {why(trace)}"
        for name, trace in traces.items()
        if known(trace) != trace
    ]


def quirk(schedule: Schedule, model: Trace, live: Trace, bochs: Version | None) -> str:
    """The emulator's quirk that explains where `live` first differs from `model`, "" if none.

    bochs: as in `quirk_of`.
    """
    seen = known(live)
    at = first_difference(model, seen)
    return "" if at is None else quirk_of(schedule, at, model, seen, bochs)
