"""Schedules on live variants: run them, and what their traces tell."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from fuzz.compare.traces import Split, Trace, Traces, first_difference, observation_of, splits
from fuzz.live.quirks import quirk_of
from fuzz.schedule.schedule import Schedule, races
from fuzz.schedule.text import schedule_json
from variants.live.bochs import Version
from variants.live.host import HostAgent
from variants.live.observe import why_broken
from variants.live.runner import Build, run_variants
from variants.machine.step import VENDORS

MORE_THAN_CORES: Final = (os.cpu_count() or 1) + 1
"""One more: emulators do not all compute all the time."""


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
) -> list[Traces]:
    """Each schedule's traces by variant, in order; {} for one with a race.

    parallel: emulators at a time. Where a run breaks off its trace ends, with outcome `error`.
    Raises LiveError when nothing can be run.
    """
    found: list[Traces] = [{} for _ in schedules]
    for vendor in VENDORS:
        mine = [
            number
            for number, schedule in enumerate(schedules)
            if schedule.vendor == vendor and not races(schedule)
        ]
        if not mine:
            continue
        plain = [schedule_json(schedules[number]) for number in mine]
        with telling.ticking(f"{vendor}: {len(mine)} schedules on {' '.join(builds)}") as tick:
            traces, reports = run_variants(plain, builds, vendor, parallel, tick)
        for name, report in reports.items():
            for trouble in report.troubles:
                telling.trouble(f"live {name}: {trouble}")
        for at, number in enumerate(mine):
            found[number] = {
                name: tuple(map(observation_of, of_all[at])) for name, of_all in traces.items()
            }
    return found


def known(trace: Trace) -> Trace:
    """A live trace as far as it was observed: where the run broke off, nothing was."""
    return trace[:-1] if trace and why_broken(trace[-1].warn) else trace


def live_splits(traces: Traces) -> list[Split]:
    """Where live variants part; one whose run broke off is in no group from there on."""
    return splits({name: known(trace) for name, trace in traces.items()})


def breaks(traces: Traces) -> list[str]:
    """The variants whose run broke off, a line each."""
    return [
        f"{name} broke off at step {len(known(trace))}: {why_broken(trace[-1].warn)}"
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
