"""A search for messages that are lost: a glance at many races, at all blocks of those that tell.

A glance takes few blocks of a race; one that breaks a rule there, where nothing that was found
before breaks it, is run at every block, and made small.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from random import Random

from fuzz.live.landings import Race, without
from fuzz.live.race_shrink import Builds, Smallest, likely_on, lost, of, smallest, swept
from fuzz.live.races import Told, glanced
from fuzz.live.run import why
from variants.live.layout import Place
from variants.machine.step import Step

Known = dict[tuple[str, str, str], set[Place]]
"""By build, what lands and the rule: the blocks at which what was found breaks it."""


@dataclass
class Search:
    """A search among races of one vendor.

    there: the builds. races: without end. count: of a round. looked, landings: how many races were
    looked at, at how many blocks. again: how many lose a message as one that was found does.
    unsteady: how many seemed to lose one, and did not when they were run again.
    """

    there: Builds
    races: Iterator[Race]
    random: Random
    count: int = 4
    known: Known = field(default_factory=dict)
    found: set[tuple[tuple[Step, ...], range]] = field(default_factory=set)
    looked: int = 0
    landings: int = 0
    again: int = 0
    unsteady: int = 0

    def know(self, race: Race) -> None:
        """A race that was found before; it counts if its message is still lost."""
        told = swept(self.there, race)
        for one in lost(told):
            remember(race, told, one.rule, self.known)
            self.found.add(plain(race))

    def look(self) -> Iterator[Smallest]:
        """Glance at some races: the smallest of each that loses a message in a new way."""
        some = list(islice(self.races, self.count))
        offset = self.random.randrange(sys.maxsize)
        told = {name: glanced(some, build, offset) for name, build in self.there.items()}
        for number, race in enumerate(some):
            of_race = {name: of_all[number] for name, of_all in told.items()}
            self.looked += 1
            self.landings += sum(
                part.landings for one in of_race.values() for part in one.intervals
            )
            if unknown(race, of_race, self.known):
                yield from self.settled(race)
            elif places_of(of_race):
                self.again += 1

    def settled(self, race: Race) -> Iterator[Smallest]:
        """The smallest of a race for each rule that it breaks in a new way."""
        told = swept(self.there, race)
        new = unknown(race, told, self.known)
        self.unsteady += not places_of(told)
        for loss in (one for one in lost(told) if one.rule in new):
            best = smallest(
                Smallest(race, told, loss),
                partial(swept, self.there),
                partial(likely_on, self.there),
            )
            remember(best.race, best.told, loss.rule, self.known)
            remember(race, told, loss.rule, self.known)
            if plain(best.race) in self.found:
                self.again += 1
            else:
                self.found.add(plain(best.race))
                yield best


def plain(race: Race) -> tuple[tuple[Step, ...], range]:
    """What makes a race the same as another, at whatever block its message landed."""
    return without(race).steps, race.messages


def unknown(race: Race, told: Mapping[str, Told], known: Known) -> set[str]:
    """The rules that the race breaks at a block at which nothing that was found does."""
    return {
        rule
        for (name, rule), places in places_of(told).items()
        if places - known.get((name, mode_of(race), rule), set())
    }


def remember(race: Race, told: Mapping[str, Told], rule: str, known: Known) -> None:
    """Add to `known` where the race breaks a rule."""
    for (name, other), places in places_of(told).items():
        if other == rule:
            known.setdefault((name, mode_of(race), rule), set()).update(places)


def places_of(told: Mapping[str, Told]) -> dict[tuple[str, str], set[Place]]:
    """By build and rule, the blocks at which a message breaks it."""
    found: dict[tuple[str, str], set[Place]] = {}
    for name, one in told.items():
        for part in (part for part in one.intervals if not why(part.trace)):
            for rule in of(part):
                found.setdefault((name, rule), set()).update(part.places)
    return found


def mode_of(race: Race) -> str:
    """What lands: `init`, or `init-sipi` if both do."""
    return "-".join(race.schedule.steps[number].mode for number in race.messages)
