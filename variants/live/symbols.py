"""Where in the source the code of a module with debug information is."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from variants.live.artefacts import execute

ANSWER: Final = re.compile(r"^0x[0-9a-f]+\n", re.MULTILINE)
AT_ONCE: Final = 10_000
"""Addresses that one command line takes."""


class Frame(NamedTuple):
    """A function in the source, and a line of it: `file` as in the kernel's tree."""

    function: str
    file: str
    line: int


def framed(
    module: Path, section: str, addresses: Sequence[int], roots: Sequence[Path]
) -> Iterator[tuple[Frame, ...]]:
    """What code at each of the addresses, offsets in a section, is of: the function, and what that
    is inlined in.

    roots: folders of source, to name files within.
    """
    options = ["--addresses", "--functions", "--inlines", f"--section={section}"]
    places: dict[str, tuple[str, int]] = {}
    for start in range(0, len(addresses), AT_ONCE):
        asked = map(hex, addresses[start : start + AT_ONCE])
        said = execute(["addr2line", f"--exe={module}", *options, *asked])
        for answer in ANSWER.split(said)[1:]:
            lines = answer.splitlines()
            places |= {line: place_of(line, roots) for line in lines[1::2] if line not in places}
            yield tuple(
                Frame(function, *places[place])
                for function, place in zip(lines[::2], lines[1::2], strict=True)
            )


def place_of(place: str, roots: Sequence[Path]) -> tuple[str, int]:
    """File and line of what addr2line prints: FILE:LINE, or FILE:LINE (discriminator N)."""
    path, _, line = place.partition(" ")[0].rpartition(":")
    file = Path(os.path.normpath(path))
    within = (file.relative_to(root) for root in roots if file.is_relative_to(root))
    return str(next(within, file.name)), int(line) if line.isdigit() else 0
