"""Inputs are run before libFuzzer asks for them, some at a time: an emulator takes a batch sooner.

libFuzzer wants an input mutated, then run. What it is given is a mutation of an earlier one that
has been run already; the mutation of this one runs with the next batch. So its choices count, a
batch late.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

BATCH: Final = 32
"""Inputs that are run at a time: one alone takes three times as long, a hundred together no less
each (docs/live-fuzzing.md)."""
TRIES: Final = 4
"""How often to mutate for an input that was not run yet."""
MOST_KNOWN: Final = 1 << 20
"""Inputs that are known to have been run, before they are forgotten."""

T = TypeVar("T")


class Ahead(Generic[T]):
    """run: gives what inputs show, in order."""

    def __init__(self, run: Callable[[Sequence[bytes]], Sequence[T]], batch: int = BATCH) -> None:
        self._run = run
        self._batch = batch
        self._next: list[bytes] = []
        self._ready: deque[bytes] = deque()
        self._shown: dict[bytes, T] = {}
        self._known: set[int] = set()

    def instead(self, mutate: Callable[[], bytes]) -> bytes:
        """An input that was run. mutate: makes the one that was asked for, which comes later."""
        self._next.append(self._fresh(mutate))
        if not self._ready:
            # The first batch: there is nothing yet to give in the meantime.
            while len(self._next) < self._batch:
                self._next.append(self._fresh(mutate))
            self._ready.extend(self._next)
            self.take(self._next)
            self._next = []
        return self._ready.popleft()

    def _fresh(self, mutate: Callable[[], bytes]) -> bytes:
        data = mutate()
        for _ in range(TRIES):
            if hash(data) not in self._known:
                break
            data = mutate()
        self._note(data)
        return data

    def _note(self, data: bytes) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known.add(hash(data))

    def take(self, inputs: Sequence[bytes]) -> None:
        """Run inputs that will be asked for."""
        left = [one for one in dict.fromkeys(inputs) if one not in self._shown]
        for at in range(0, len(left), self._batch):
            some = left[at : at + self._batch]
            self._shown.update(zip(some, self._run(some), strict=True))
            for data in some:
                self._note(data)

    def shown(self, data: bytes) -> T:
        """What an input shows; that is forgotten then."""
        if data not in self._shown:
            self.take([data])
        return self._shown.pop(data)
