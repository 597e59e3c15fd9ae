"""What a line of KVM's C stands in: conditions, loops and labels around it.

Not a parser of C. It goes by the kernel's own style: a statement's parts are indented by what they
are in, one tab a level, and labels of a switch stand as far left as the switch.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

COMMENT: Final = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
HEADER: Final = re.compile(r"(?:\}\s*)?(?:if|else|for|while|switch|do|\w*for_each\w*)\b")
LABEL: Final = re.compile(r"(?:case\b.*|default\s*):")
TARGET: Final = re.compile(r"(?!default\b)\w+:")
"""Where a goto goes."""
TAB: Final = 8


class Statement(NamedTuple):
    """A statement, or the head of one: its first line, from 0, how far it is indented, its text."""

    line: int
    indent: int
    text: str


def statements(source: str) -> list[Statement]:
    """The statements of a C file, in order, without comments; a line of text each."""
    plain = COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)
    found: list[Statement] = []
    parts: list[str] = []
    for number, line in enumerate(plain.splitlines()):
        text = line.strip()
        if not text or (text.startswith("#") and not parts):
            continue
        if not parts:
            expanded = line.expandtabs(TAB)
            begin, indent = number, len(expanded) - len(expanded.lstrip())
        parts.append(text)
        whole = " ".join(parts)
        if whole.count("(") <= whole.count(")") and ended(whole):
            found.append(Statement(begin, indent, whole))
            parts = []
    return found


def ended(text: str) -> bool:
    """Is a statement, or the head of one, whole? Its parentheses are."""
    return text.endswith((";", "{", "}", ":")) or (
        HEADER.match(text) is not None and text.endswith((")", "else", "do"))
    )


def at_line(found: Sequence[Statement], line: int) -> int | None:
    """The number of the statement that a line, from 1, is of; None if it is before all."""
    at = bisect_right(found, line - 1, key=lambda one: one.line) - 1
    return at if at >= 0 else None


def around(found: Sequence[Statement], at: int) -> list[str]:
    """What the statement of that number is in, the innermost first: heads and labels. Of an `else`
    it is `else of` the condition before it."""
    told = []
    indent = found[at].indent
    for number in range(at - 1, -1, -1):
        one = found[number]
        if not indent:
            break
        if one.indent >= indent or TARGET.fullmatch(one.text):
            continue
        if LABEL.match(one.text):
            told += [one.text, *labels_and_switch(found, number)]
        elif one.text.lstrip("} ").startswith("else"):
            told += [one.text, *conditions_before(found, number)]
        elif HEADER.match(one.text):
            told.append(one.text)
        indent = one.indent
    return told


def labels_and_switch(found: Sequence[Statement], at: int) -> list[str]:
    """The labels right before one, and the switch that it is of."""
    told = []
    indent = found[at].indent
    right_before = True
    for one in reversed(found[:at]):
        if one.indent < indent:
            break
        if one.indent > indent:
            right_before = False
        elif LABEL.match(one.text) and right_before:
            told.append(one.text)
        elif one.text.startswith("switch"):
            return [*told, one.text]
    return told


def conditions_before(found: Sequence[Statement], at: int) -> list[str]:
    """The conditions that do not hold where an `else` is taken."""
    told = []
    indent = found[at].indent
    for one in reversed(found[:at]):
        if one.indent > indent or one.text == "}":
            continue
        if one.indent < indent:
            break
        told.append(f"else of {one.text}")
        if not one.text.lstrip("} ").startswith("else"):
            break
    return told
