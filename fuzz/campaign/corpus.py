"""Keeps the corpora of a campaign from growing without end.

Several processes and sessions keep inputs that another has made superfluous. An input is dropped
if those kept before it, shorter ones first, hit all of its counters, as libFuzzer's own merge would
have it; so at each moment what is left covers all. Only where that is not enough, the longest are
dropped too.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from fuzz.campaign.coverage import ByOutline
from fuzz.campaign.walker import Walker
from fuzz.compare.compared import Compared
from fuzz.memory.automaton import Automaton

BLOCK: Final = 4096
"""Bytes that file systems take for a small file."""
SLACK: Final = 0.9
"""To what share of its bound a corpus is made smaller, so that this is not done all the time."""


def sizes(corpus: Path) -> dict[Path, int]:
    """The inputs of a corpus, with their sizes. Fuzzers remove some at any time. Raises OSError."""
    found = {}
    for path in corpus.iterdir():
        with suppress(FileNotFoundError):
            found[path] = path.stat().st_size
    return found


def taken(corpus: Path) -> int:
    """Bytes that the inputs of a corpus take. Raises OSError."""
    return sum(-(-size // BLOCK) * BLOCK for size in sizes(corpus).values())


def shortest_first(corpus: Path) -> list[Path]:
    """The inputs of a corpus in the order in which they are worth keeping. Raises OSError."""
    return [path for path, _ in sorted(sizes(corpus).items(), key=lambda one: (one[1], one[0]))]


def bound(corpus: Path, subject: Compared | None, most: int) -> None:
    """Make a corpus smaller if it takes more than `most` bytes. Raises OSError.

    subject: what fuzzers of it compare; None: no models, so it is not known what inputs hit.
    """
    if taken(corpus) <= most:
        return
    paths = shortest_first(corpus)
    left = list(covering(paths, Cover(subject)) if subject else paths)
    while left and len(left) * BLOCK > most * SLACK:
        left.pop()
    for path in set(paths) - set(left):
        path.unlink(missing_ok=True)


class Cover:
    """Which counters inputs hit together. subject: what fuzzers of them compare."""

    def __init__(self, subject: Compared) -> None:
        self.hit: set[int] = set()
        self._walker = Walker(Automaton(subject, counting=ByOutline()))

    def grows(self, data: bytes) -> bool:
        """Take an input in; did it hit a counter that none before it has?"""
        before = len(self.hit)
        self.hit.update(node.counter for node in self._walker.walk(data))
        return len(self.hit) > before


def covering(paths: Sequence[Path], cover: Cover) -> Iterator[Path]:
    """Those of `paths` that hit a counter which `cover` and the ones before them do not."""
    for path in paths:
        with suppress(FileNotFoundError):
            if cover.grows(path.read_bytes()):
                yield path
