"""Keeps the corpora of a campaign from growing without end.

Several processes and sessions keep inputs that another has made superfluous. An input is dropped
if those kept before it, shorter ones first, hit all of its counters, as libFuzzer's own merge would
have it; so at each moment what is left covers all. Only where that is not enough, the longest are
dropped too.
"""

from collections.abc import Iterator, Sequence
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


def taken(corpus: Path) -> int:
    """Bytes that the inputs of a corpus take. Raises OSError."""
    return sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in corpus.iterdir())


def bound(corpus: Path, subject: Compared, most: int) -> None:
    """Make a corpus smaller if it takes more than `most` bytes. Raises OSError.

    subject: what fuzzers of it compare.
    """
    if taken(corpus) <= most:
        return
    paths = sorted(corpus.iterdir(), key=lambda path: (path.stat().st_size, path.name))
    walker = Walker(Automaton(subject, counting=ByOutline()))
    superfluous = list(not_covering(paths, walker))
    for path in superfluous:
        path.unlink(missing_ok=True)
    left = [path for path in paths if path not in set(superfluous)]
    while left and len(left) * BLOCK > most * SLACK:
        left.pop().unlink(missing_ok=True)


def not_covering(paths: Sequence[Path], walker: Walker) -> Iterator[Path]:
    """Those of `paths` whose counters the ones before them hit."""
    hit: set[int] = set()
    for path in paths:
        counters = {node.counter for node in walker.walk(path.read_bytes())}
        if counters <= hit:
            yield path
        hit |= counters
