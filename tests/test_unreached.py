"""Reasons why blocks are not reached: of the source, true, and none that is for nothing."""

import re
from pathlib import Path

import pytest

from fuzz.live.c_text import around, at_line, statements
from fuzz.live.coverage import EVENT_PATH, Function, function_of, totals
from fuzz.live.unreached import Reason, contexts, read_reasons, why_of
from variants.live.inside import SOURCES, Block
from variants.live.layout import Place
from variants.live.symbols import Frame

FILE = "arch/x86/kvm/lapic.c"
FUNCTION = "kvm_apic_accept_events"
SOURCE = """\
#include "x.h"

/* if (comment) */
static int kvm_apic_accept_events(int mode,
\t\t\t\t  int level)
{
\tif (mode &&
\t    level) {
\t\tone(mode,
\t\t    level);
\t} else if (level) {
\t\ttwo();
\t} else {
\t\tthree(); /* if (no) */
\t}
\tif (mode)
\t\tgoto out;
\tswitch (mode) {
\tcase 1:
\tcase 2:
\t\tfour();
\t\tbreak;
\tdefault:
\t\tfive();
\t}
out:
\tsix();
}
"""


def told(line: int) -> tuple[str, list[str]]:
    found = statements(SOURCE)
    at = at_line(found, line)
    assert at is not None
    return found[at].text, around(found, at)


@pytest.mark.parametrize(
    ("line", "text", "within"),
    [
        (8, "if (mode && level) {", []),
        (10, "one(mode, level);", ["if (mode && level) {"]),
        (12, "two();", ["} else if (level) {", "else of if (mode && level) {"]),
        (
            14,
            "three();",
            ["} else {", "else of } else if (level) {", "else of if (mode && level) {"],
        ),
        (17, "goto out;", ["if (mode)"]),
        (21, "four();", ["case 2:", "case 1:", "switch (mode) {"]),
        (24, "five();", ["default:", "switch (mode) {"]),
        (27, "six();", []),
    ],
)
def test_what_a_line_stands_in(line: int, text: str, within: list[str]) -> None:
    assert told(line) == (text, within)


def block(line: int, *inlined: str) -> Block:
    frames = [Frame(one, "x.h", 1) for one in inlined]
    return Block(Place("kvm", ".text", line), (*frames, Frame(FUNCTION, FILE, line)))


def reason(why: str, text: str = "", own: str = "", *functions: str) -> Reason:
    both = (re.compile(one) if one else None for one in (text, own))
    return Reason(why, frozenset(functions), *both)


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    file = tmp_path / SOURCES / FILE
    file.parent.mkdir(parents=True)
    file.write_text(SOURCE)
    return tmp_path


def test_the_first_reason_that_fits_is_why(modules: Path) -> None:
    reasons = [
        reason("elsewhere", "two", "", "vcpu_run"),
        reason("no level", r"else if \(level\)"),
        reason("never 2", own="two"),
        reason("no helper", own="^test_bit$"),
    ]
    why = why_of(reasons, contexts(modules, function_of), {}, ())
    assert why(block(12)) == "no level"
    assert why(block(21)) == ""
    assert why(block(21, "test_bit")) == "no helper"


def test_what_comes_after_it_alone_has_its_reason(modules: Path) -> None:
    context = contexts(modules, function_of)
    never, after, loop = block(12), block(21), block(24)
    before = {after.place: [never, loop], loop.place: [after]}

    def why(*reached: Block) -> str:
        places = {one.place for one in reached}
        return why_of([reason("never", "two")], context, before, places)(after)

    assert why() == "never"
    assert why(loop) == ""


def test_a_reason_that_is_not_so_is_told(modules: Path) -> None:
    reasons = [reason("never", r"if \(mode\)"), reason("part of it", own="six")]
    functions = [Function(FUNCTION, ((block(17), 1), (block(27), 1), (block(27), 0)))]
    context = contexts(modules, function_of)
    said = list(totals(functions, reasons, context, why_of(reasons, context, {}, ())))
    assert said == [
        "2 of 3 blocks reached; of the others 0 have no reason yet",
        f"not so: never: {FUNCTION} is reached at {FILE}:17",
    ]


def test_reasons_are_for_functions_of_the_event_path() -> None:
    reasons = read_reasons()
    assert len({one.why for one in reasons}) == len(reasons)
    for one in reasons:
        assert one.functions <= set(EVENT_PATH)
        assert one.text or one.own
