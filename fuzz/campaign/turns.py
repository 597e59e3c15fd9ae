"""Turns that are taken fairly: what is rare comes as often as what is common.

A value is put at a path, and each branch of the tree that the paths make has as many turns as the
branches beside it, as long as there is something in it.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

COMPARED: Final = 4
"""Of so many drawn branches the one is taken that has had the fewest turns: fair enough, and quick
where there are thousands."""

T = TypeVar("T")
Below = Callable[[int], int]
"""Draws a number from 0 to below its argument."""


class Turns(Generic[T]):
    """A branch, and how many turns it has had, which it keeps when it is empty.

    There come to be very many that are empty, so these take little memory.
    """

    __slots__ = ("_branches", "_open", "_values", "had")

    def __init__(self) -> None:
        self.had = 0
        self._branches: dict[Hashable, Turns[T]] = {}
        self._open: list[Turns[T]] = []
        self._values: deque[T] | None = None

    def __bool__(self) -> bool:
        return bool(self._open or self._values)

    def put(self, path: Sequence[Hashable], value: T) -> bool:
        """Add a value, after those at the same path. Is it the first ever there?"""
        if not path:
            self._values = self._values or deque()
            self._values.append(value)
            return not self.had and len(self._values) == 1
        branch = self._branches.get(path[0])
        if branch is None:
            branch = self._branches[path[0]] = Turns()
        if not branch:
            self._open.append(branch)
        return branch.put(path[1:], value)

    def take(self, below: Below) -> T:
        """Remove the value whose turn it is; there has to be one."""
        self.had += 1
        if self._values:
            value = self._values.popleft()
            self._values = self._values or None
            return value
        drawn = [self._open[below(len(self._open))] for _ in range(COMPARED)]
        branch = min(drawn, key=lambda some: some.had)
        value = branch.take(below)
        if not branch:
            self._open.remove(branch)
        return value

    def clear(self) -> None:
        """Remove all values."""
        self._values = None
        self._open.clear()
        for branch in self._branches.values():
            branch.clear()
