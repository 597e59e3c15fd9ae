"""A module's machine code as far as it matters here: which instructions are executed together.

The compiler calls back where a basic block begins; later passes move instructions, cut blocks up
and put those that are seldom reached elsewhere. So of an instruction only the flow of control says
by which callback it is known that it is reached.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

SECTION: Final = re.compile(r"^Disassembly of section (\S+):$")
FUNCTION: Final = re.compile(r"^[0-9a-f]+ <")
INSTRUCTION: Final = re.compile(
    r"^ *([0-9a-f]+):\t(?:(?:bnd|notrack) )*(\S+)(?: +([0-9a-f]+)\b)?(.*)$"
)
ENDS: Final = ("jmp", "ret", "retq")
"""After these comes nothing."""
MOVED: Final = re.compile(r" R_X86_64_P(?:C|LT)32\t(\.\S+?)([+-]0x[0-9a-f]+)$")
TO_NEXT: Final = 4
"""From the operand of a jump or call, which is what a relocation counts from, to its end."""

Where = tuple[str, int]
"""A section and an offset in it."""


class Instruction(NamedTuple):
    """first: of a function. jumps: perhaps, and to `goes` if that is in the module; ends: what is
    after it is not executed next. called: where the callback returns to, if it is a call of that.
    """

    where: Where
    first: bool
    jumps: bool
    goes: Where | None
    ends: bool
    called: Where | None


class Known(NamedTuple):
    """By which callbacks it is known that an instruction is executed: for sure by that of its
    `block`; without one, it may be after any of those `before` it."""

    block: frozenset[Where] = frozenset()
    before: frozenset[Where] = frozenset()


Run = Sequence[Instruction]
"""Instructions one after another: only the first is jumped to, only the last jumps."""


def instructions(disassembly: str, callback: str) -> Iterator[Instruction]:
    """What `objdump -drw` tells of a module."""
    section, first = "", False
    for line in disassembly.splitlines():
        if found := INSTRUCTION.match(line):
            offset, word, target, rest = int(found[1], 16), *found.group(2, 3, 4)
            goes = called = None
            jumps = word.startswith("j")
            if jumps and (moved := MOVED.search(rest)):
                goes = moved[1], int(moved[2], 16) + TO_NEXT
            elif jumps and target and " R_X86" not in rest:
                goes = section, int(target, 16)
            elif word == "call" and callback in rest:
                called = section, int(rest.split("\t")[1].partition(":")[0], 16) + TO_NEXT
            yield Instruction((section, offset), first, jumps, goes, word in ENDS, called)
            first = False
        elif found := SECTION.match(line):
            section = found[1]
        elif FUNCTION.match(line):
            first = True


def runs_in(found: Sequence[Instruction]) -> list[Run]:
    """Instructions cut up where one is jumped to and after one that jumps or ends."""
    targets = {one.goes for one in found if one.goes}
    runs: list[list[Instruction]] = []
    for one in found:
        last = runs[-1][-1] if runs else None
        begins = not last or last.jumps or last.ends or last.where[0] != one.where[0]
        if begins or one.first or one.where in targets:
            runs.append([])
        runs[-1].append(one)
    return list(runs)


def ways_in(runs: Sequence[Run]) -> Mapping[int, list[int]]:
    """By the number of a run, those from which it is gone to."""
    at = {run[0].where: number for number, run in enumerate(runs)}
    ways: dict[int, list[int]] = defaultdict(list)
    for number, run in enumerate(runs):
        last = run[-1]
        if last.goes in at:
            ways[at[last.goes]].append(number)
        after = runs[number + 1][0] if number + 1 < len(runs) else last
        if not last.ends and not after.first and after.where[0] == last.where[0]:
            ways[number + 1].append(number)
    return ways


def before(number: int, ways: Mapping[int, list[int]], calls: Sequence[list[Where]]) -> set[Where]:
    """The callbacks that are last on the ways to a run that has none."""
    seen, todo = {number}, [number]
    found: set[Where] = set()
    while todo:
        for way in ways.get(todo.pop(), ()):
            if calls[way]:
                found.add(calls[way][-1])
            elif way not in seen:
                seen.add(way)
                todo.append(way)
    return found


def calls_of(runs: Iterable[Run]) -> list[list[Where]]:
    return [[one.called for one in run if one.called] for run in runs]


def calls_before(found: Sequence[Instruction]) -> dict[Where, frozenset[Where]]:
    """By callback, those that may be the last before it; of where functions begin there is none."""
    runs = runs_in(found)
    calls, ways = calls_of(runs), ways_in(runs)
    last: dict[Where, frozenset[Where]] = {}
    for number, run in enumerate(runs):
        for one, call in enumerate(calls[number]):
            if one:
                last[call] = frozenset([calls[number][one - 1]])
            elif not run[0].first:
                last[call] = frozenset(before(number, ways, calls))
    return last


def known_by(found: Sequence[Instruction]) -> dict[Where, Known]:
    """By which callbacks each instruction is known to be executed."""
    runs = runs_in(found)
    calls, ways = calls_of(runs), ways_in(runs)
    known: dict[Where, Known] = {}
    for number, run in enumerate(runs):
        if not calls[number]:
            one_of = Known(before=frozenset(before(number, ways, calls)))
            known |= dict.fromkeys((one.where for one in run), one_of)
            continue
        block = calls[number][0]  # what is before it in the run is executed with it
        for one in run:
            block = one.called or block
            known[one.where] = Known(frozenset([block]))
    return known
