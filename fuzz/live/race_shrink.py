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
from variants.machine.step import Step

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
    """The smaller races that lose the same, the smallest first."""
    for race in likely(list(smaller(best.race)), best.lost):
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


def smaller(race: Race) -> Iterator[Race]:
    """The race with a step fewer, then with one made plainer; its message stays, and where."""
    steps = race.schedule.steps
    kept = (race.sent, race.step)
    for number in (n for n in range(len(steps)) if n not in kept):
        left = steps[:number] + steps[number + 1 :]
        yield Race(race.schedule._replace(steps=left), race.sent - (number < race.sent))
    plain = without(race).steps
    for number, step in ((n, one) for n, one in enumerate(plain) if not one.at):
        for candidate in simpler(step, race.schedule):
            if weight(candidate) < weight(step) and fits(race, number, candidate):
                changed = [*plain[:number], candidate, *plain[number + 1 :]]
                changed[race.sent] = changed[race.sent]._replace(at=AT)
                yield Race(race.schedule._replace(steps=tuple(changed)), race.sent)


def fits(race: Race, number: int, step: Step) -> bool:
    """Can `step` be in the place of step `number`, and the race be one?"""
    schedule = race.schedule
    if step.at or step_problem(step, schedule.vendor, schedule.vcpus):
        return False
    message = step if number == race.sent else schedule.steps[race.sent]
    target = step if number == race.step else schedule.steps[race.step]
    return message.op == "icr" and message.to == target.on != message.on
