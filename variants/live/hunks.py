"""A patch's hunks: what a reviewer calls them, and the diff of some of them."""

import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from variants.live.changes import TOP_LEVEL
from variants.live.git_apply import git_diff
from variants.live.kbuild import copy_source, header_source
from variants.live.patches import KernelPatch, apply_patch

SECTION: Final = re.compile(r"^(?=diff --git )", re.MULTILINE)
BODY: Final = re.compile(r"^(?=@@ )", re.MULTILINE)
RANGES: Final = re.compile(r"(@@ -\d+(?:,(\d+))? \+)(\d+)((?:,(\d+))? @@)")
SAME_NAME: Final = re.compile(r'^diff --git "?[ab]/(.+?)"? "?[ab]/\1"?$', re.MULTILINE)
MOVED: Final = re.compile(r'^((?:rename|copy) (?:from|to) "?)[ab]/', re.MULTILINE)
NEW_NAME: Final = re.compile(r'^(?:rename|copy) to "?(.*?)"?$', re.MULTILINE)
WHOLE: Final = {
    "new file": "new file",
    "deleted file": "deleted",
    "rename from": "renamed",
    "copy from": "copied",
    "old mode": "mode",
    "GIT binary": "not text",
}
"""How lines of a file's section begin that make it one hunk, and what that is called."""
TYPE: Final = re.compile(r"^(?:struct|union|enum) (\w+) \{")


@dataclass(frozen=True)
class Hunk:
    """A part of a patch that can be left out.

    number: from 1, in the order of the diff. file: as it is called afterwards. line: the first that
    the hunk changes, as the patched file counts; 0 if the file is new, deleted, renamed or no text,
    which is one hunk. where: the function or type that the line is in, "" for none; what happens to
    a whole file. head: the lines of the diff that name the file; text: the rest of it.
    """

    number: int
    file: str
    line: int
    where: str
    head: str
    text: str

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        return f"{self.file}: {', '.join(filter(None, (self.where, line)))}"


def hunks_of(patch: KernelPatch, kernel: Path) -> list[Hunk]:
    """The hunks of a patch, of a series as one, on a kernel of the cache that has its source.

    What is not built is left out. Raises LiveError if the patch does not apply.
    """
    with tempfile.TemporaryDirectory(prefix="eventdiff-") as scratch:
        copy_source(kernel / "source", header_source(kernel), Path(scratch, "a"))
        return hunks_on(patch, Path(scratch))


def hunks_on(patch: KernelPatch, scratch: Path) -> list[Hunk]:
    """`hunks_of` on the tree `a` in a scratch folder; the patched one will be `b` there."""
    before, after = scratch / "a", scratch / "b"
    shutil.copytree(before, after)
    apply_patch(patch, after, scratch / "log")

    def lines_of(file: str) -> list[str]:
        return (after / file).read_text(errors="surrogateescape").split("\n")

    return hunks_in(git_diff(before, after), lines_of)


def hunks_in(diff: str, lines_of: Callable[[str], Sequence[str]]) -> list[Hunk]:
    """The hunks of a diff of git's. lines_of: those of a file as it is afterwards."""
    found: list[Hunk] = []
    for section in SECTION.split(MOVED.sub(r"\1", diff))[1:]:
        head, *texts = BODY.split(section)
        file = (NEW_NAME.search(head) or SAME_NAME.search(head) or [""])[1]
        whole = [what for words, what in WHOLE.items() if f"\n{words}" in head]
        if whole:
            found.append(Hunk(len(found) + 1, file, 0, whole[0], "", section))
            continue
        for text in texts:
            line, where = place(text, lines_of(file))
            found.append(Hunk(len(found) + 1, file, line, where, head, text))
    return found


class Changed(NamedTuple):
    """A line that a hunk adds, as the patched file counts; with `gone`, the line before which it
    takes lines away and adds none. text: the line, or those that are gone."""

    line: int
    gone: bool
    text: str


def changed_in(hunk: Hunk) -> Iterator[Changed]:
    """What a hunk adds and takes away, in order."""
    for text in BODY.split(hunk.text):
        if not RANGES.match(text):
            continue  # what is said of a whole file
        ranges, *body = text.split("\n")
        line = start_of(ranges)
        for changes, group in groupby(filter(None, body), key=lambda one: one[0] in "+-"):
            lines = list(group)
            added = [one[1:] for one in lines if one[0] == "+"]
            if changes and not added:
                yield Changed(line, True, "\n".join(one[1:] for one in lines))
            for number, one in enumerate(added):
                yield Changed(line + number, False, one)
            line += len(added) if changes else sum(one[0] == " " for one in lines)


def lines_about(hunk: Hunk) -> range:
    """The lines of the patched file that a hunk shows."""
    ranges = [
        (start_of(text), found) for text in BODY.split(hunk.text) if (found := RANGES.match(text))
    ]
    if not ranges:
        return range(0)
    start, found = ranges[-1]
    return range(ranges[0][0], start + int(found[5] or 1))


def place(text: str, after: Sequence[str]) -> tuple[int, str]:
    """The first line that a hunk changes, as the patched file counts, and what it is in."""
    ranges, *body = text.split("\n")
    first = next(index for index, line in enumerate(body) if line[:1] in ("+", "-"))
    start = start_of(ranges)
    plain = [line[1:] for line in body]
    above = [*after[: start - 1], *plain[:first]]
    changed = [line[1:] for line in body[first:] if line[:1] in ("+", "-")]
    return start + first, named(changed[0]) or around(above) or first_named(changed)


def start_of(ranges: str) -> int:
    """The first line of a hunk in the patched file; of an empty one the line that it is before."""
    found = RANGES.match(ranges)
    assert found
    return int(found[3]) + (found[5] == "0")


def named(line: str) -> str:
    """The function or type that begins in a line, "" if none does."""
    if found := TYPE.match(line):
        return found[0].removesuffix(" {")
    found = TOP_LEVEL.match(line)
    return found[1] if found else ""


def around(above: Sequence[str]) -> str:
    """The function or type that the line after these is in; "" if in none."""
    for line in reversed(above):
        if line.startswith("}") or (named(line) and line.endswith(";")):
            return ""
        if named(line):
            return named(line)
    return ""


def first_named(lines: Sequence[str]) -> str:
    return next(filter(None, map(named, lines)), "")


def diff_of(hunks: Sequence[Hunk], kept: Collection[int]) -> str:
    """The diff that has of a patch's hunks those with the numbers to keep."""
    return "".join(parts(hunks, kept))


def parts(hunks: Sequence[Hunk], kept: Collection[int]) -> Iterator[str]:
    for _, group in groupby(hunks, key=lambda hunk: (hunk.file, hunk.head)):
        of_file = list(group)
        if any(hunk.number in kept for hunk in of_file):
            yield of_file[0].head
        missing = 0
        for hunk in of_file:
            if hunk.number in kept:
                yield moved(hunk.text, -missing) if hunk.head else hunk.text
            elif hunk.head:
                missing += growth(hunk.text)


def growth(text: str) -> int:
    """How many lines longer a hunk makes its file."""
    found = RANGES.match(text)
    assert found
    return int(found[5] or 1) - int(found[2] or 1)


def moved(text: str, by: int) -> str:
    """A hunk for a file in which it comes that many lines later. git looks for it there first."""
    return RANGES.sub(lambda found: f"{found[1]}{int(found[3]) + by}{found[4]}", text, count=1)
