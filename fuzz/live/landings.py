"""Races on instrumented builds: a step, a message that lands inside it, and what that shows."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, Final, NamedTuple, Protocol

from fuzz.compare.traces import Trace, observation_of
from fuzz.live.coverage import function_of
from fuzz.live.run import MORE_THAN_CORES, Telling
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import schedule_json
from variants.live.guests import Guests, guests
from variants.live.inside import Block, read_blocks
from variants.live.landing import Landed, landed, landing_in, passed
from variants.live.layout import NOWHERE, Place
from variants.live.observe import trace
from variants.live.protocol import Ended
from variants.live.runner import Build, run_variants
from variants.machine.step import targets

AT: Final = "block"
"""A word for `at` while a race is not yet at a certain block."""


class Race(NamedTuple):
    """The step `sent` of the schedule, an `icr` with `at`, lands inside the next one.

    also: so many messages before it land with it, in their order. Others with `at` land where they
    are to.
    """

    schedule: Schedule
    sent: int
    also: int = 0

    @property
    def step(self) -> int:
        return self.sent + 1

    @property
    def messages(self) -> range:
        """The steps whose messages land together."""
        return range(self.sent - self.also, self.step)


class Try(NamedTuple):
    """A race with its messages landing at `at`; None: before the step.

    number, place: of the block that this is, where the message comes only after the step.
    """

    race: Race
    at: Mapping[str, Any] | None
    number: int = -1
    place: Place = NOWHERE


class Run(Protocol):
    """Runs tries. inside: what to tell, as in `encode`. fresh: each in a VM of its own; what a step
    passes depends on what its VM has run before."""

    def __call__(self, tries: Sequence[Try], inside: int, fresh: bool = True) -> list[Ended]: ...


class Shown(NamedTuple):
    """What a race showed with its message at one block."""

    trace: Trace
    landed: Landed


class Landing(NamedTuple):
    """A try and what it showed."""

    tried: Try
    shown: Shown


def races_in(schedule: Schedule) -> list[Race]:
    """The races of a schedule: those it has, messages in a row with the same `at` together; else
    each message to one other vCPU, while that takes its step before or after."""
    armed = [number for number, step in enumerate(schedule.steps) if step.at]
    if armed:
        return [together(schedule, number) for number in armed if follows(schedule, number)]
    found = []
    for number, step in enumerate(schedule.steps):
        if step.op != "icr" or step.to < 0 or step.to == step.on:
            continue
        acting = [n for n, other in enumerate(schedule.steps) if other.on == step.to]
        around = [max((n for n in acting if n < number), default=None)]
        around.append(min((n for n in acting if n > number), default=None))
        found += [raced(schedule, number, other) for other in around if other is not None]
    return found


def together(schedule: Schedule, number: int) -> Race:
    """The race of a message and those right before it that land with it."""
    last, before = schedule.steps[number], reversed(schedule.steps[:number])
    alike = takewhile(lambda step: (step.at, step.to) == (last.at, last.to), before)
    return Race(schedule, number, sum(1 for _ in alike))


def follows(schedule: Schedule, number: int) -> bool:
    """Is the step after an `icr` one of its target?"""
    rest = schedule.steps[number + 1 : number + 2]
    return bool(rest) and rest[0].on == schedule.steps[number].to


def raced(schedule: Schedule, number: int, step: int) -> Race:
    """The message of step `number` in a race with `step`."""
    steps = list(schedule.steps)
    message = steps.pop(number)
    to = step if step < number else step - 1
    steps.insert(to, message._replace(at=AT))
    return Race(schedule._replace(steps=tuple(steps)), to)


def without(race: Race) -> Schedule:
    """The race's schedule with its messages before the step."""
    return landing_at(race, "")


def landing_at(race: Race, at: str) -> Schedule:
    """The race's schedule with `at` for its messages."""
    steps = list(race.schedule.steps)
    for number in race.messages:
        steps[number] = steps[number]._replace(at=at)
    return race.schedule._replace(steps=tuple(steps))


def with_at(one: Try) -> dict[str, Any]:
    """A try as plain data."""
    plain = schedule_json(without(one.race))
    if one.at is not None:
        for number in one.race.messages:
            plain["steps"][number]["icr"]["at"] = one.at
    return plain


class Instrumented(NamedTuple):
    """A build that is ready to run. blocks: all that it has. events: those of the event path."""

    run: Run
    blocks: Mapping[Place, Block]
    events: Collection[Place]


@contextmanager
def prepared(builds: Mapping[str, Build], telling: Telling) -> Iterator[dict[str, Instrumented]]:
    """Instrumented builds, with guest systems that stay up."""
    with guests(len(builds) * MORE_THAN_CORES) as those:
        there = {}
        for name, build in builds.items():
            blocks = {one.place: one for one in read_blocks(build.modules)}
            events = {place for place, one in blocks.items() if function_of(one)}
            there[name] = Instrumented(runner(name, build, telling, those), blocks, events)
        yield there


def runner(name: str, build: Build, telling: Telling, those: Guests) -> Run:
    """Runs tries on a build."""

    def run(tries: Sequence[Try], inside: int, fresh: bool = True) -> list[Ended]:
        if not tries:
            return []
        plain = [with_at(one) for one in tries]
        vendor = tries[0].race.schedule.vendor
        with telling.ticking(f"{vendor}: {len(plain)} landings on {name}") as tick:
            _, reports = run_variants(
                plain,
                {name: build},
                vendor,
                MORE_THAN_CORES,
                tick,
                fresh,
                guests=those,
                inside=inside,
                landings={name: landing_in(build.modules)},
            )
        for trouble in reports[name].troubles:
            telling.trouble(f"live {name}: {trouble}")
        return [reports[name].ended[number] for number in range(len(plain))]

    return run


def shown(race: Race, ended: Ended) -> Shown:
    """What a run of the race showed. A message whose step did not come to be has not landed."""
    observations = trace(with_at(Try(race, None)), ended)
    lines = ended.lines[race.step : race.step + 1]
    there = landed(lines[0], ended.layout)[sent_before(race) :] if lines else []
    nowhere = Landed(-1, NOWHERE, False, False)
    return Shown(tuple(map(observation_of, observations)), there[0] if there else nowhere)


def sent_before(race: Race) -> int:
    """How many messages land in the same step and were sent before."""
    on, vcpus = race.schedule.steps[race.step].on, race.schedule.vcpus
    others = takewhile(lambda step: step.at, reversed(race.schedule.steps[: race.sent]))
    return sum(step.on != on and on in targets(step, vcpus) for step in others)


def blocks_of(race: Race, ended: Ended) -> list[Place]:
    """The blocks of the step that the race is in, in order."""
    lines = ended.lines[race.step : race.step + 1]
    return passed(lines[0], ended.layout) if lines else []
