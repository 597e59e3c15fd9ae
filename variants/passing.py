"""Which preemption points a replaced function no longer passes.

Variants are compared in the same interleavings: where the point is not passed at which a message is
to land, it lands when the step is over. A replacement that is a copy without calls of `preempt`
differs from the base in races by that alone.
"""

from collections.abc import Iterator
from types import FunctionType

from variants.machine.points import POINTS
from variants.reach import codes, held_by, named_by
from variants.variant import Variant, of_machine, replaced


def not_passed(variant: Variant) -> dict[str, list[str]]:
    """By function that `variant` replaces, the points that only the one replaced passes."""
    found = {}
    for target, replacement in replaced(variant).items():
        passed = set(points_of(replacement, target))
        if lost := [point for point in points_in(target) if point not in passed]:
            found[target.__name__] = lost
    return found


def points_in(function: FunctionType) -> Iterator[str]:
    """The points that a function names itself."""
    for code in codes(function):
        yield from (one for one in code.co_consts if isinstance(one, str) and one in POINTS)


def points_of(function: FunctionType, target: FunctionType) -> Iterator[str]:
    """The points of `function`, a replacement of `target`, of what that calls besides the machine,
    and of `target` if it is among what it calls."""
    todo, seen = [function], set[FunctionType]()
    while todo:
        one = todo.pop()
        seen.add(one)
        yield from points_in(one)
        if one is not target:
            named = dict([*named_by(one), *held_by(one)]).values()
            called = [value for value in named if isinstance(value, FunctionType)]
            todo += [f for f in called if (f is target or not of_machine(f)) and f not in seen]
