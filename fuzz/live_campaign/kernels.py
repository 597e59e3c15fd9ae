"""Schedules on instrumented kernels that stay up: what they show, and which blocks they reach."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from fuzz.compare.traces import Traces, observation_of
from fuzz.live.run import breaks
from fuzz.schedule.codes import schedule_of_input
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import schedule_json
from variants.live.guests import Guests
from variants.live.layout import Place
from variants.live.protocol import COVERAGE
from variants.live.runner import Build, run_variants
from variants.machine.step import Vendor


class Ran(NamedTuple):
    """What a schedule showed. reached: its blocks, by variant. broken: which runs broke off, a line
    each."""

    schedule: Schedule
    traces: Traces
    reached: Mapping[str, Collection[Place]]
    broken: Sequence[str]


def live_schedule(data: bytes) -> Schedule:
    """The schedule of an input, with each message before the step in which it would land."""
    schedule = schedule_of_input(data)
    return schedule._replace(steps=tuple(step._replace(at="") for step in schedule.steps))


def run(
    schedules: Sequence[Schedule],
    vendor: Vendor,
    builds: Mapping[str, Build],
    up: Guests,
    tick: Callable[[], None],
) -> list[Ran]:
    """Run schedules on all `builds`. Those of another vendor, or without steps, show nothing.

    tick: called about twice a second meanwhile; what it raises ends the run. Raises LiveError when
    nothing can be run.
    """
    told = [Ran(one, {}, {}, ()) for one in schedules]
    numbers = [n for n, one in enumerate(schedules) if one.steps and one.vendor == vendor]
    if not numbers:
        return told
    plain = [schedule_json(schedules[number]) for number in numbers]
    traces, reports = run_variants(
        plain, builds, vendor, len(builds), tick, fresh=False, guests=up, inside=COVERAGE
    )
    for at, number in enumerate(numbers):
        shown: Traces = {
            name: tuple(map(observation_of, some[at])) for name, some in traces.items()
        }
        reached = {name: report.ended[at].reached for name, report in reports.items()}
        told[number] = Ran(schedules[number], shown, reached, breaks(shown))
    return told
