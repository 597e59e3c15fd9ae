"""The lines that a patch changes, and which of them schedules reach.

A line is reached if a block is that has code of it. Where the patch only takes lines away, the code
on either side has to be.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from variants.live.hunks import Changed, Hunk, changed_in, lines_about
from variants.live.lines import Code, Lines

REACHED: Final = "reached"
NOT_REACHED: Final = "not reached"
NO_CODE: Final = "no code"
SHARED: Final = "in no block of its own"
UNTRACED: Final = "not traced"
SECTIONS: Final = {".noinstr.text": "noinstr", ".init.text": "init", ".exit.text": "exit"}
"""What code is that calls nothing back, by its section."""
EMPTY: Final = re.compile(r"[\s{};]*(?:/?\*+/?(?:\s.*)?|//.*)?")
"""A line that does nothing: a comment, or the brackets of a block."""


class Line(NamedTuple):
    """A line of the patched tree that a hunk changes; gone: before it the hunk only takes away.

    codes: of the line, or of the nearest on both sides, as far as the hunk shows them. fate: what
    is to be said whatever is reached, "" for nothing. under: lines that the hunk adds before it, in
    which it is by its indentation.
    """

    hunk: Hunk
    file: str
    line: int
    gone: bool
    codes: tuple[Code, ...]
    fate: str
    under: tuple[int, ...] = ()

    def verdict(self, reached: Collection[int]) -> str:
        """What became of it, given the numbers of the blocks that were reached."""
        told = [verdict(code, reached) for code in self.codes]
        if NOT_REACHED in told:
            return NOT_REACHED
        return self.fate or next((one for one in told if one != REACHED), REACHED)


def verdict(code: Code, reached: Collection[int]) -> str:
    """Is code reached, or why can that not be told?"""
    if not code.blocks.isdisjoint(reached):
        return REACHED
    if not code.before.isdisjoint(reached):
        return SHARED
    if code.blocks or code.before:
        return NOT_REACHED
    return next((name for one, name in SECTIONS.items() if one in code.sections), SHARED)


def changed_lines(hunks: Iterable[Hunk], lines: Lines) -> list[Line]:
    """What a patch changes. lines: those of the patched build that have code."""
    return [
        line_of(hunk, changed, lines)._replace(under=under)
        for hunk in hunks
        for changed, under in with_headers(changed_in(hunk))
    ]


def with_headers(changes: Iterable[Changed]) -> Iterator[tuple[Changed, tuple[int, ...]]]:
    """Those changes that do something, each with the lines that are added right before it and are
    indented less, and less again."""
    above: list[tuple[int, int]] = []
    last = 0
    for changed in changes:
        if changed.gone or changed.line != last + 1:
            above = []
        last = changed.line
        if all(map(EMPTY.fullmatch, changed.text.split("\n"))):
            continue
        indent = indented(changed.text)
        above = [one for one in above if one[0] < indent]
        yield changed, tuple(line for _, line in above)
        if not changed.gone:
            above.append((indent, changed.line))


def indented(text: str) -> int:
    return len(text.expandtabs()) - len(text.expandtabs().lstrip())


def verdicts(lines: Iterable[Line], reached: Collection[int]) -> list[tuple[Line, str]]:
    """What became of each. What is in a line that was not reached was not."""
    found: list[tuple[Line, str]] = []
    missed: set[tuple[str, int]] = set()
    for line in lines:
        verdict = line.verdict(reached)
        if verdict == SHARED and any((line.file, one) in missed for one in line.under):
            verdict = NOT_REACHED
        if verdict == NOT_REACHED and not line.gone:
            missed.add((line.file, line.line))
        found.append((line, verdict))
    return found


def line_of(hunk: Hunk, changed: Changed, lines: Lines) -> Line:
    of_file = lines.get(hunk.file, {})
    nearest: Iterable[Code | None] = [of_file.get(changed.line)]
    if changed.gone:
        shown = lines_about(hunk)
        above, below = range(changed.line - 1, shown.start - 1, -1), range(changed.line, shown.stop)
        nearest = [first_of(above, of_file), first_of(below, of_file)]
    codes = tuple(code for code in nearest if code)
    fate = "" if codes else NO_CODE if of_file or hunk.file.endswith(".h") else UNTRACED
    return Line(hunk, hunk.file, changed.line, changed.gone, codes, fate)


def first_of(numbers: Iterable[int], of_file: Mapping[int, Code]) -> Code | None:
    """The code of the first of these lines that has some."""
    return next((of_file[number] for number in numbers if number in of_file), None)
