"""Where inputs have led, to go on from there.

libFuzzer chooses which input to mutate, but not where in it to go on. Of each outline that is met
(`fuzz.campaign.coverage`) the shortest input is kept here that ends there, and outlines that few
mutations have gone on from come first: else what is rare is left alone for long.
"""

from collections.abc import Callable
from typing import Final

COMPARED: Final = 4
"""Of so many drawn outlines the one is taken that has been taken least."""

Below = Callable[[int], int]
"""Draws a number from 0 to below its argument."""
Key = tuple[int, str | None]
"""An outline's counter, and the family of the input that led there."""


class Outlines:
    """Outlines, each with the shortest input that ends there."""

    def __init__(self) -> None:
        self._inputs: dict[Key, bytes] = {}
        self._taken: dict[Key, int] = {}
        self._keys: list[Key] = []

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Key, data: bytes) -> None:
        """`data` ends at `key`."""
        known = self._inputs.get(key)
        if known is None:
            self._keys.append(key)
            self._taken[key] = 0
        if known is None or len(data) < len(known):
            self._inputs[key] = data

    def pick(self, below: Below) -> bytes:
        """An input to go on from; there has to be one."""
        drawn = [self._keys[below(len(self._keys))] for _ in range(COMPARED)]
        key = min(drawn, key=self._taken.__getitem__)
        self._taken[key] += 1
        return self._inputs[key]
