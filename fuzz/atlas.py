"""Shortest schedules, looked up: what an exploration near the start finds.

Minimising ends where no single change makes a schedule smaller, and from different schedules that
can be different places. A breadth-first search to the depth of what is minimised knows better. Most
schedules are a few steps long, so it is soon done, and all signatures share it.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from fuzz.alphabet import alphabet_of, usual_words, words_of, words_of_step
from fuzz.compared import Compared
from fuzz.explore import AP, BSP, Prefix, schedule_of
from fuzz.joint import start
from fuzz.schedule import Schedule
from fuzz.search import Path, Search
from fuzz.tables import Tables
from variants.machine.step import Step

MAX_STATES: Final = 20_000
"""How far a search goes: some seconds."""
MAX_SEARCHES: Final = 16
"""How many to keep, of each vendor."""


class Atlas:
    """The explorations of `compared` so far, by alphabet: an AP's and the BSP's."""

    def __init__(self, compared: Compared) -> None:
        self.compared = compared
        self._searches: dict[object, list[tuple[Prefix, Search]]] = {}

    def shortest(self, signature: str, known: Schedule) -> Schedule | None:
        """A schedule for `signature` that is no longer than `known`; None if there is none within
        the bounds.

        The search has the usual steps and the words and points of `known`, and nothing else of
        `known` matters.
        """
        shortest: Schedule | None = None
        for prefix, search in self._around(known.steps):
            most = len(shortest.steps) - 1 if shortest else len(known.steps)
            path = look_up(search, signature, most)
            if path:
                shortest = schedule_of(search, path, prefix)
        return shortest

    def _around(self, steps: Iterable[Step]) -> list[tuple[Prefix, Search]]:
        vendor = self.compared.vendor
        given = {word for step in steps for word in words_of_step(step)}
        words = [word for word in words_of(vendor) if word in given or word in usual_words(vendor)]
        points = tuple(sorted({step.at for step in steps if step.at}))
        key = (tuple(words), points)
        if key not in self._searches:
            if len(self._searches) == MAX_SEARCHES:
                del self._searches[next(iter(self._searches))]
            alphabet = alphabet_of(vendor, words, races=False)._replace(points=points)
            tables = Tables(self.compared, alphabet.steps)
            self._searches[key] = [
                (prefix, Search(tables, alphabet, start(self.compared, prefix.on == BSP), quiet))
                for prefix in (Prefix(AP, BSP), Prefix(BSP, AP))
            ]
        return self._searches[key]


@lru_cache(maxsize=4)
def atlas_of(compared: Compared) -> Atlas:
    """The atlas that minimising shares."""
    return Atlas(compared)


def look_up(search: Search, signature: str, most: int) -> Path | None:
    """The shortest path to `signature` of at most `most` steps, if the search gets that far."""

    def found() -> Path | None:
        return search.found[signature][1] if signature in search.found else None

    def far_enough() -> bool:
        path = found()
        least = min(most, path.length) if path else most
        return search.depth >= least or search.states > MAX_STATES

    search.run(None, until=far_enough)
    path = found()
    return path if path and path.length <= min(most, search.depth) else None


def quiet(*_: int) -> None:
    """No progress to tell."""
