"""Shortest schedules, looked up: what an exploration near the start finds.

Minimising ends where no single change makes a schedule smaller, and from different schedules that
can be different places. A breadth-first search to the depth of what is minimised knows better. Most
schedules are a few steps long, so it is soon done, and all signatures share it.
"""

from functools import lru_cache
from typing import Final

from fuzz.compare.compared import Compared
from fuzz.compare.joint import start
from fuzz.compare.signature import Signature
from fuzz.explore.exhaustive import AP, BSP, Prefix, schedule_of
from fuzz.explore.search import Path, Search
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import Alphabet, usual_alphabets
from fuzz.schedule.schedule import Schedule, races

MAX_STATES: Final = 20_000
MAX_RACED: Final = 2_500
"""How far a search goes without races and with them: a second or two."""


class Atlas:
    """The explorations of `compared` so far, by alphabet: an AP's and the BSP's."""

    def __init__(self, compared: Compared) -> None:
        self.compared = compared
        *self._calm, self._raced = usual_alphabets(compared.vendor, races=True)
        self._searches: dict[Alphabet, list[tuple[Prefix, Search]]] = {}

    def shortest(self, signature: Signature, known: Schedule) -> Schedule | None:
        """A schedule for `signature` that is no longer than `known`; None if there is none within
        the bounds.

        With races it is looked for among the usual steps, without them with each family as well.
        """
        found: Schedule | None = None
        for alphabet in [self._raced] if races(known) else self._calm:
            for prefix, search in self._searched(alphabet):
                most = len(found.steps) - 1 if found else len(known.steps)
                path = look_up(search, signature, most)
                if path:
                    found = schedule_of(search, path, prefix)
        return found

    def _searched(self, alphabet: Alphabet) -> list[tuple[Prefix, Search]]:
        if alphabet not in self._searches:
            tables = Tables(self.compared, alphabet.steps)
            self._searches[alphabet] = [
                (prefix, Search(tables, alphabet, start(self.compared, prefix.on == BSP), quiet))
                for prefix in (Prefix(AP, BSP), Prefix(BSP, AP))
            ]
        return self._searches[alphabet]


@lru_cache(maxsize=4)
def atlas_of(compared: Compared) -> Atlas:
    """The atlas that minimising shares."""
    return Atlas(compared)


def look_up(search: Search, signature: Signature, most: int) -> Path | None:
    """The shortest path to `signature` of at most `most` steps, if the search gets that far."""

    def found() -> Path | None:
        return search.found[signature][1] if signature in search.found else None

    def far_enough() -> bool:
        path = found()
        least = min(most, path.length) if path else most
        bound = MAX_RACED if search.alphabet.points else MAX_STATES
        return search.depth >= least or search.states > bound

    search.run(None, until=far_enough)
    path = found()
    return path if path and path.length <= min(most, search.depth) else None


def quiet(*_: int) -> None:
    """No progress to tell."""
