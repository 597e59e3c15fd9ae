"""A message at each basic block of a step, on real KVM: which outcomes there are, and where.

What another processor sends may come at any moment of KVM's loop. Between two basic blocks of the
instrumented code that is the same moment, as far as the code can tell.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, pairwise, takewhile
from typing import Any, Final, NamedTuple

from fuzz.compare.traces import Trace, observation_of
from fuzz.judge.monitor import judge
from fuzz.live.coverage import function_of
from fuzz.live.run import Telling
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import schedule_json
from variants.live.guests import Guests, guests
from variants.live.inside import read_blocks
from variants.live.landing import NEVER, Landed, at_block, landed, landing_in, passed
from variants.live.layout import NOWHERE, Place
from variants.live.observe import trace
from variants.live.protocol import LANDED, PASSED, Ended
from variants.live.runner import Build, run_variants
from variants.machine.step import targets

TURNS: Final = 3
"""How often a block is taken that a step reaches again and again: a loop that spins goes on so."""
STRIDE: Final = 16
"""Of blocks off the event path one in so many is taken at first."""
AT: Final = "block"
"""A word for `at` while a race is not yet at a certain block."""


class Race(NamedTuple):
    """The step `sent` of the schedule, an `icr` with `at`, lands inside the next one.

    Other messages with `at` land where they are to.
    """

    schedule: Schedule
    sent: int

    @property
    def step(self) -> int:
        return self.sent + 1


class Try(NamedTuple):
    """A race with its message landing at `at`; None: before the step.

    number, place: of the block that this is, where the message comes only after the step.
    """

    race: Race
    at: Mapping[str, Any] | None
    number: int = -1
    place: Place = NOWHERE


Run = Callable[[Sequence[Try], int], list[Ended]]
"""Runs tries, each in a VM of its own: what a step passes depends on what its VM has run before.
The number says what to tell (`inside` of `encode`)."""


class Shown(NamedTuple):
    """What a race showed with its message at one block."""

    trace: Trace
    landed: Landed


class Landing(NamedTuple):
    """A try and what it showed."""

    tried: Try
    shown: Shown


class Interval(NamedTuple):
    """Blocks, tried from `first` to `last`, at which a message has the same outcome.

    landings: how many of them were taken. like: `before`, `after`, both or neither: what it has
    that comes before the step, or after it. rules: those of the manuals that it breaks, with their
    steps, and neither of these does. sure: the first and the last showed it twice.
    """

    first: Try
    last: Try
    landings: int
    trace: Trace
    like: tuple[str, ...]
    rules: tuple[tuple[int, str], ...]
    sure: bool


class Told(NamedTuple):
    """A race on one build. blocks: how many its step has. missed: how many landings were not at
    their block, for it was not reached that time."""

    blocks: int
    before: Trace
    after: Trace
    intervals: tuple[Interval, ...]
    missed: int


def races_in(schedule: Schedule) -> list[Race]:
    """The races of a schedule: those it has; else each message to one other vCPU, while that takes
    its step before or after."""
    armed = [number for number, step in enumerate(schedule.steps) if step.at]
    if armed:
        return [Race(schedule, number) for number in armed if follows(schedule, number)]
    found = []
    for number, step in enumerate(schedule.steps):
        if step.op != "icr" or step.to < 0 or step.to == step.on:
            continue
        acting = [n for n, other in enumerate(schedule.steps) if other.on == step.to]
        around = [max((n for n in acting if n < number), default=None)]
        around.append(min((n for n in acting if n > number), default=None))
        found += [raced(schedule, number, other) for other in around if other is not None]
    return found


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


def with_at(one: Try) -> dict[str, Any]:
    """A try as plain data."""
    steps = list(one.race.schedule.steps)
    steps[one.race.sent] = steps[one.race.sent]._replace(at="")
    plain = schedule_json(one.race.schedule._replace(steps=tuple(steps)))
    if one.at is not None:
        plain["steps"][one.race.sent]["icr"]["at"] = one.at
    return plain


def run_races(
    races: Sequence[Race], builds: Mapping[str, Build], telling: Telling
) -> dict[str, list[Told]]:
    """Each race, all of one vendor, on each build. Raises LiveError when nothing can be run."""
    found = {}
    with guests() as those:
        for name, build in builds.items():
            events = {one.place for one in read_blocks(build.modules) if function_of(one)}
            found[name] = on_build(races, runner(name, build, telling, those), events)
    return found


def on_build(races: Sequence[Race], run: Run, events: Collection[Place]) -> list[Told]:
    """The races on one build: before and after, then at blocks, then the ends of intervals again.

    events: the blocks of the event path. Each of them is taken; of the others every `STRIDE`-th,
    and all between two that had other outcomes.
    """
    edge = [Try(race, at) for race in races for at in (None, at_block(NEVER))]
    ended = iter(run(edge, LANDED | PASSED))
    edges, every = [], []
    for race in races:
        early, late = next(ended), next(ended)
        edges.append((shown(race, early).trace, shown(race, late).trace))
        every.append(blocks_of(race, late))
    tries = [list(chosen(race, some)) for race, some in zip(races, every, strict=True)]
    landings: list[dict[int, Landing]] = [{} for _ in races]
    for further in (partial(sparse, events=events), between):
        todo = [further(tries[number], landings[number]) for number in range(len(races))]
        ended = iter(run([tries[n][at] for n, some in enumerate(todo) for at in some], LANDED))
        for number, some in enumerate(todo):
            for at in some:
                one = tries[number][at]
                landings[number][at] = Landing(one, shown(one.race, next(ended)))
    groups = [grouped([found[at] for at in sorted(found)]) for found in landings]
    ends = [[end for group in some for end in (group[0], group[-1])] for some in groups]
    ended = iter(run([one.tried for some in ends for one in some], LANDED))
    again = [
        [shown(one.tried.race, next(ended)).trace == one.shown.trace for one in some]
        for some in ends
    ]
    told = []
    for number, race in enumerate(races):
        sure = iter(again[number])
        intervals = [
            interval(race, edges[number], group, all([next(sure), next(sure)]))
            for group in groups[number]
        ]
        missed = sum(one.shown.landed.place != one.tried.place for one in landings[number].values())
        told.append(Told(len(every[number]), *edges[number], tuple(intervals), missed))
    return told


def sparse(tries: Sequence[Try], _: Mapping[int, Landing], events: Collection[Place]) -> list[int]:
    """The tries to begin with, by number."""
    last = len(tries) - 1
    return [
        number
        for number, one in enumerate(tries)
        if number % STRIDE == 0 or number == last or one.place in events
    ]


def between(tries: Sequence[Try], landings: Mapping[int, Landing]) -> list[int]:
    """The tries between two others that had other outcomes, by number."""
    return [
        number
        for one, other in pairwise(sorted(landings))
        if landings[one].shown.trace != landings[other].shown.trace
        for number in range(one + 1, other)
    ]


def grouped(landings: Sequence[Landing]) -> list[list[Landing]]:
    """Those one after another that had the same outcome."""
    return [list(group) for _, group in groupby(landings, lambda one: one.shown.trace)]


def runner(name: str, build: Build, telling: Telling, those: Guests) -> Run:
    """Runs tries on a build."""

    def run(tries: Sequence[Try], inside: int) -> list[Ended]:
        if not tries:
            return []
        plain = [with_at(one) for one in tries]
        vendor = tries[0].race.schedule.vendor
        with telling.ticking(f"{vendor}: {len(plain)} landings on {name}") as tick:
            _, reports = run_variants(
                plain,
                {name: build},
                vendor,
                1,
                tick,
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


def chosen(race: Race, blocks: Sequence[Place]) -> Iterator[Try]:
    """A try for each block of a step, the first times that it is reached."""
    times: Counter[Place] = Counter()
    for number, one in enumerate(blocks):
        if times[one] < TURNS:
            yield Try(race, at_block(times[one], [one]), number, one)
        times[one] += 1


def interval(
    race: Race, edges: tuple[Trace, Trace], group: Sequence[Landing], sure: bool
) -> Interval:
    """Landings one after another that had the same outcome."""
    outcome = group[0].shown.trace
    words = zip(("before", "after"), edges, strict=True)
    like = tuple(word for word, edge in words if edge == outcome)
    known = {ruling for edge in edges for ruling in rulings(race, edge)}
    rules = () if like else tuple(sorted(rulings(race, outcome) - known))
    return Interval(group[0].tried, group[-1].tried, len(group), outcome, like, rules, sure)


def rulings(race: Race, outcome: Trace) -> set[tuple[int, str]]:
    """The rules of the manuals that a trace breaks whenever the message came, with their steps."""
    found = judge(race.schedule, outcome)
    return {(number, ruling.rule) for number, ruling in found if not ruling.open}
