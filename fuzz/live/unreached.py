"""Why blocks of KVM's event path are reached by no schedule: `unreached.yaml`, held to the source.

A reason is of what stands in the source, not of its lines, so that it holds for several kernels: in
a function of the event path, the statement that a block is of, the conditions and labels around it,
and what is inlined in what. What comes after such a block alone has its reason.
"""

import re
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from fuzz.live.c_text import Statement, around, at_line, statements
from variants.live.inside import SOURCES, Block
from variants.live.layout import Place

FILE: Final = Path(__file__).parent / "unreached.yaml"


class Reason(NamedTuple):
    """why: in a few words. functions: those of the event path that it is for, all if empty. text:
    what stands in the statement, or in what that is in; own: what stands in the statement, where
    others of its blocks are reached."""

    why: str
    functions: frozenset[str]
    text: re.Pattern[str] | None
    own: re.Pattern[str] | None

    def fits(self, where: "Context") -> bool:
        """Is it why the block is not reached?"""
        own = any(has(pattern, where.own) for pattern in (self.text, self.own))
        return self.is_for(where) and (own or has(self.text, where.within))

    def forbids(self, where: "Context") -> bool:
        """Can the block not be reached, if it is true?"""
        return self.is_for(where) and has(self.text, where.within)

    def is_for(self, where: "Context") -> bool:
        return not self.functions or where.function in self.functions


class Context(NamedTuple):
    """Where a block is. own: the statement that it is of, the functions inlined there, and those
    that this one is inlined in; other blocks may be there too. within: the conditions and labels
    that it is under."""

    function: str
    own: tuple[str, ...]
    within: tuple[str, ...]


def has(pattern: re.Pattern[str] | None, texts: Sequence[str]) -> bool:
    return pattern is not None and any(map(pattern.search, texts))


def read_reasons(path: Path = FILE) -> list[Reason]:
    """The reasons in a file, in order: the first that fits counts."""

    def pattern(text: str | None) -> re.Pattern[str] | None:
        return re.compile(text) if text else None

    return [
        Reason(
            one["why"],
            frozenset(one.get("in", ())),
            pattern(one.get("text")),
            pattern(one.get("own")),
        )
        for one in yaml.safe_load(path.read_text())
    ]


def contexts(modules: Path, function_of: Callable[[Block], str]) -> Callable[[Block], Context]:
    """What tells where a block of instrumented modules is, of those that are of a function.

    function_of: the function of the event path that a block is of.
    """

    @cache
    def statements_of(file: str) -> list[Statement]:
        path = modules / SOURCES / file
        return statements(path.read_text(errors="replace")) if path.is_file() else []

    @cache
    def context(block: Block) -> Context:
        function = function_of(block)
        own: list[str] = []
        within: list[str] = []
        functions = [frame.function for frame in block.frames]
        depth = functions.index(function) + 1 if function else len(functions)
        for frame in block.frames[:depth]:
            found = statements_of(frame.file)
            at = at_line(found, frame.line)
            if at is not None:
                own.append(found[at].text)
                within += around(found, at)
        return Context(function, (*own, *functions), tuple(within))

    return context


Why = Callable[[Block], str]
"""Tells why a block is not reached; "" if no reason is known."""


def why_of(
    reasons: Sequence[Reason],
    context: Callable[[Block], Context],
    before: Mapping[Place, Sequence[Block]],
    reached: Container[Place],
) -> Why:
    """What is not reached is so for the reason of where the way to it was not taken: the first that
    fits a block, of those on the ways to it that are not reached, that comes after one that is.

    before: by block, those right before it; of where functions begin there is none.
    """

    def why(block: Block) -> str:
        found, first = [block], []
        for one in found:  # which grows
            last = before.get(one.place, ())
            if not last or any(other.place in reached for other in last):
                first.append(one)
            else:
                found += [other for other in last if other not in found]
        fits = (
            reason.why
            for one in (*first, *found)
            for reason in reasons
            if reason.fits(context(one))
        )
        return next(fits, "")

    return why
