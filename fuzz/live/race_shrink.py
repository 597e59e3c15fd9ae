"""A race that loses a message, made small on real KVM.

Lost is a message that at some block breaks a rule of the manuals that it breaks neither before the
step nor after it. A smaller schedule counts if a message at the same block still breaks that rule
on the kernels that lose it, and at none of their blocks on the others, if there are others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fuzz.live.landings import AT, Instrumented, Landing, Race, Try, shown, without
from fuzz.live.race_edges import edge_tries, edges
from fuzz.live.races import Interval, Told, interval, on_build
from fuzz.schedule.order import weight
from fuzz.schedule.schedule import step_problem
from fuzz.shrink.minimize import simpler
from variants.live.landing import at_block
from variants.live.protocol import LANDED
from variants.machine.step import MIN_VCPUS, Step

Builds = Mapping[str, Instrumented]


class Lost(NamedTuple):
    """A rule, and the first blocks with which a race breaks it, by the builds that do."""

    rule: str
    first: Mapping[str, Interval]


def lost(told: Mapping[str, Told]) -> list[Lost]:
    """What builds lose: first what not all of them do."""
    rules = sorted({rule for one in told.values() for part in one.intervals for rule in of(part)})
    found = []
    for rule in rules:
        parts = {
            name: next((part for part in one.intervals if rule in of(part)), None)
            for name, one in told.items()
        }
        found.append(Lost(rule, {name: part for name, part in parts.items() if part}))
    return sorted(found, key=lambda one: len(one.first) == len(told))


def of(part: Interval) -> set[str]:
    """The rules that an interval breaks."""
    return {rule for _, rule in part.rules}


class Smallest(NamedTuple):
    """A race, what it showed on each build, and what is lost."""

    race: Race
    told: Mapping[str, Told]
    lost: Lost


Sweep = Callable[[Race], Mapping[str, Told]]
"""A race at every block of each build."""
Likely = Callable[[Sequence[Race], Lost], Sequence[Race]]
"""Those of some races that break the rule with a message where it was found to be broken."""


def smallest(best: Smallest, sweep: Sweep, likely: Likely) -> Smallest:
    """The race 1-minimal: no step can be dropped and none made plainer."""
    while found := next(still(best, sweep, likely), None):
        best = found
    return best


def still(best: Smallest, sweep: Sweep, likely: Likely) -> Iterator[Smallest]:
    """The smaller races that lose the same: first with all changes at once that work alone, then
    with one; steps are dropped before others are made plainer."""
    for changes in (drops(best.race), plainer(best.race)):
        alone = {changed(best.race, [change]): change for change in changes}
        good = likely(list(alone), best.lost)
        first: dict[int, Change] = {}
        for race in good:
            first.setdefault(alone[race].number, alone[race])
        joint = changed(best.race, list(first.values()))
        both = likely([joint], best.lost) if len(first) > 1 and is_race(joint) else ()
        for race in (*both, *good):
            told = sweep(race)
            yield from (
                Smallest(race, told, one)
                for one in lost(told)
                if one.rule == best.lost.rule and one.first.keys() == best.lost.first.keys()
            )


def swept(builds: Builds, race: Race) -> dict[str, Told]:
    """The `Sweep` of builds."""
    return {name: on_build([race], build)[0] for name, build in builds.items()}


def likely_on(builds: Builds, races: Sequence[Race], what: Lost) -> Sequence[Race]:
    """The `Likely` of builds."""
    for name, part in what.first.items():
        races = breaking(builds[name], races, part, what.rule)
    return races


def breaking(build: Instrumented, races: Sequence[Race], part: Interval, rule: str) -> list[Race]:
    """Those of `races` that break `rule` with a message at an end of an interval. A block of its
    may be reached for the first time there, and for a later one here, or the other way round."""
    ends = [part.first.at, part.last.at, *(at_block(0, [one.place]) for one in part[:2])]
    places = [at for number, at in enumerate(ends) if at not in ends[:number]]
    tries = [[*edge_tries(race), *(Try(race, at) for at in places)] for race in races]
    ended = iter(build.run([one for some in tries for one in some], LANDED))
    found = []
    for race in races:
        both = edges(race, ended)
        landings = [Landing(Try(race, at), shown(race, next(ended))) for at in places]
        again = [interval(race, both, [landing], sure=True) for landing in landings]
        found += [race] if any(rule in of(one) for one in again) else []
    return found


class Change(NamedTuple):
    """Another step instead of step `number`; None: none."""

    number: int
    step: Step | None


def drops(race: Race) -> Iterator[Change]:
    """Each step that can be dropped: not the last message, nor what it races with."""
    kept = (race.sent, race.step)
    return (Change(n, None) for n in range(len(race.schedule.steps)) if n not in kept)


def plainer(race: Race) -> Iterator[Change]:
    """Plainer steps, the plainest first; the message stays a race."""
    for number, step in enumerate(without(race).steps):
        for candidate in simpler(step, race.schedule) if not step.at else ():
            change = Change(number, candidate)
            if weight(candidate) < weight(step) and is_race(changed(race, [change])):
                yield change


def changed(race: Race, changes: Sequence[Change]) -> Race:
    """The race with some of its steps changed, and as many vCPUs as these name; the message lands
    at some block."""
    steps: list[Step | None] = list(race.schedule.steps)
    for number, step in changes:
        steps[number] = step and step._replace(at=AT if number in race.messages else step.at)
    sent = race.sent - steps[: race.sent].count(None)
    also = race.also - [steps[number] for number in race.messages].count(None)
    left = tuple(step for step in steps if step)
    vcpus = max(MIN_VCPUS, *(1 + max(step.on, step.to) for step in left))
    return Race(race.schedule._replace(vcpus=vcpus, steps=left), sent, also)


def is_race(race: Race) -> bool:
    """Do its messages go to one other vCPU, which takes the next step, and is each step one?"""
    schedule = race.schedule
    target = schedule.steps[race.step].on
    sent = [schedule.steps[number] for number in race.messages]
    return all(one.op == "icr" and one.to == target != one.on for one in sent) and not any(
        step_problem(step, schedule.vendor, schedule.vcpus) for step in without(race).steps
    )
