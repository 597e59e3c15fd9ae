"""Schedules on live variants: run them, and compare what the variants showed."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fuzz.live.quirks import quirk_of
from fuzz.report.replay import Trace, traces_json
from fuzz.schedule.schedule import Schedule, printable, races
from fuzz.schedule.text import schedule_json
from variants.live.host import HostAgent
from variants.live.observe import why_broken
from variants.live.runner import Build, run_variants
from variants.machine.machine import Observation
from variants.machine.step import VENDORS
from variants.machine.vcpu import NestedExit

Groups = tuple[tuple[str, ...], ...]


class Split(NamedTuple):
    """A step after which variants that were alike no longer are, and who agrees with whom."""

    step: int
    groups: Groups


def observation_of(fields: Mapping[str, Any]) -> Observation:
    """The observation that a live run reports as `fields`."""
    known = {name: fields[name] for name in Observation._fields}
    if known["nested_exit"] is not None:
        known["nested_exit"] = NestedExit(**{"activity": "", **known["nested_exit"]})
    known["taken"] = tuple(known["taken"])
    return Observation(**known)


def run_live(
    schedules: Sequence[Schedule], builds: Mapping[str, Build | HostAgent]
) -> list[dict[str, Trace]]:
    """Each schedule's traces by variant, in order; {} for one with a race.

    What goes wrong with a schedule is said on stderr; its trace ends there with outcome `error`.
    Raises LiveError when nothing can be run.
    """
    found: list[dict[str, Trace]] = [{} for _ in schedules]
    for vendor in VENDORS:
        mine = [
            number
            for number, schedule in enumerate(schedules)
            if schedule.vendor == vendor and not races(schedule)
        ]
        if not mine:
            continue
        plain = [schedule_json(schedules[number]) for number in mine]
        what = f"{vendor}: {len(mine)} schedules on {' '.join(builds)}"
        with Ticker(what) as tick:
            # One more than cores: they do not all compute all the time.
            parallel = (os.cpu_count() or 1) + 1
            traces, reports = run_variants(plain, builds, vendor, parallel, tick)
        for name, report in reports.items():
            for trouble in report.troubles:
                print(f"eventdiff: live {name}: {printable(trouble)}", file=sys.stderr)
        for at, number in enumerate(mine):
            found[number] = {
                name: tuple(map(observation_of, of_all[at])) for name, of_all in traces.items()
            }
    return found


class Ticker:
    """How long something takes, on a terminal."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.shown = sys.stderr.isatty()
        self.began = time.monotonic()

    def __enter__(self) -> Callable[[], None]:
        return self.tick

    def tick(self) -> None:
        if self.shown:
            elapsed = time.monotonic() - self.began
            print(f"\r\033[K{self.what}: {elapsed:.0f} s", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def seen_at(trace: Trace, step: int) -> Observation | None:
    """What a trace has for `step`; a live run that broke off has nothing more."""
    return trace[step] if step < len(trace) else None


def known(trace: Trace) -> Trace:
    """A live trace as far as it was observed: where the run broke off, nothing was."""
    return trace[:-1] if trace and why_broken(trace[-1].warn) else trace


def breaks(traces: Mapping[str, Trace]) -> list[str]:
    """The variants whose run broke off, a line each."""
    return [
        f"{name} broke off at step {len(known(trace))}: {why_broken(trace[-1].warn)}"
        for name, trace in traces.items()
        if known(trace) != trace
    ]


def splits(traces: Mapping[str, Trace]) -> list[Split]:
    """Where the variants part: as `fuzz.compare.joint` compares models, without what is hidden.

    A variant whose run broke off is in no group from that step on.
    """
    seen = {name: known(trace) for name, trace in traces.items()}
    groups: list[tuple[str, ...]] = [tuple(seen)]
    found = []
    for step in range(max(map(len, seen.values()), default=0)):
        left = []
        for group in groups:
            going_on = [name for name in group if step < len(seen[name])]
            parts = parted(going_on, {name: seen[name][step] for name in going_on})
            if len(parts) > 1:
                found.append(Split(step, tuple(parts)))
            left += [part for part in parts if len(part) > 1]
        groups = left
    return found


def parted(group: Iterable[str], seen: Mapping[str, object]) -> list[tuple[str, ...]]:
    parts: dict[object, list[str]] = {}
    for name in group:
        parts.setdefault(seen[name], []).append(name)
    return [tuple(part) for part in parts.values()]


def quirk(schedule: Schedule, model: Trace, live: Trace) -> str:
    """The emulator's quirk that explains where `live` first differs from `model`, "" if none."""
    seen = known(live)
    differ = [step for step, one in enumerate(seen) if one != model[step]]
    if not differ:
        return ""
    both = traces_json({"model": model, "live": seen})
    return quirk_of(schedule, differ[0], both["model"], both["live"])


def differing_fields(model: Observation, live: Observation) -> list[str]:
    """The fields in which the two differ, with both values."""
    return [
        f"{name}: model {getattr(model, name)}, live {getattr(live, name)}"
        for name in Observation._fields
        if getattr(model, name) != getattr(live, name)
    ]
