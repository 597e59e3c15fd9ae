"""Which of the lines that two functions do not have in common have run."""

import inspect
from collections.abc import Set
from difflib import SequenceMatcher
from functools import cache
from types import FunctionType

Hunks = frozenset[int]
"""Numbers of places in which two texts differ."""


@cache
def source(function: FunctionType) -> tuple[str, ...]:
    """The lines of a function; none if there is no text."""
    try:
        return tuple(line.rstrip() for line in inspect.getsourcelines(function)[0])
    except OSError:
        return ()


def hunks_run(
    base: FunctionType, changed: FunctionType, ran: Set[int], base_ran: Set[int]
) -> Hunks:
    """The places in which `changed` differs from `base` that have run.

    ran, base_ran: lines of each that ran. Those of `base` count if none of `changed` did: what it
    does not do is the difference.
    """
    places = SequenceMatcher(None, source(base), source(changed), autojunk=False).get_opcodes()
    apart = [(n, one) for n, one in enumerate(places) if one[0] != "equal"]
    own = frozenset(n for n, (_, _, _, at, end) in apart if not ran.isdisjoint(range(at, end)))
    left = frozenset(
        n for n, (_, at, end, _, _) in apart if not base_ran.isdisjoint(range(at, end))
    )
    return own or left
