"""Lines of source, the blocks that have code of them, and what is said of a patch's."""

import difflib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.review.changed import (
    NO_CODE,
    NOT_REACHED,
    REACHED,
    SHARED,
    UNTRACED,
    changed_lines,
)
from fuzz.review.reached import Reached
from fuzz.review.reached_text import doubt, nothing_reached, reached_json, sentences
from variants.live.flow import Known, calls_before, instructions, known_by
from variants.live.hunks import changed_in, hunks_in, lines_about
from variants.live.lines import Code, Lines

FILE = "arch/x86/kvm/lapic.c"
CALLBACK = "trace_me"
DISASSEMBLY = """\
kvm.ko:     file format elf64-x86-64
Disassembly of section .text:

0000000000000000 <accept>:
       0:\tpush   %rbx
       1:\tcall   6 <accept+0x6>\t2: R_X86_64_PLT32\ttrace_me-0x4
       6:\ttest   %eax,%eax
       8:\tje     10 <accept+0x10>
       a:\tcall   f <accept+0xf>\tb: R_X86_64_PLT32\ttrace_me-0x4
       f:\tnop
      10:\tmov    $0x1,%eax
      15:\tjne    1b <accept+0x1b>\t17: R_X86_64_PC32\t.text.unlikely-0x4
      1b:\tret

0000000000000020 <other>:
      20:\tret

Disassembly of section .text.unlikely:

0000000000000000 <accept.cold>:
       0:\tcall   5 <accept.cold+0x5>\t1: R_X86_64_PLT32\ttrace_me-0x4
       5:\tjmp    a <accept.cold+0xa>\t6: R_X86_64_PC32\t.text+0x17
"""
BEGUN, INNER, COLD = (".text", 6), (".text", 0xF), (".text.unlikely", 5)


def test_an_instruction_is_known_by_the_callback_that_it_is_executed_with() -> None:
    known = known_by(list(instructions(DISASSEMBLY, CALLBACK)))
    assert known[".text", 0] == Known(frozenset([BEGUN]))
    assert known[".text", 8] == Known(frozenset([BEGUN]))
    assert known[".text", 0xF] == Known(frozenset([INNER]))
    assert known[".text.unlikely", 0] == Known(frozenset([COLD]))


def test_where_ways_meet_it_may_be_after_either() -> None:
    known = known_by(list(instructions(DISASSEMBLY, CALLBACK)))
    assert known[".text", 0x10] == Known(before=frozenset([BEGUN, INNER]))
    assert known[".text", 0x1B] == Known(before=frozenset([BEGUN, INNER, COLD]))
    assert known[".text", 0x20] == Known()


def test_which_callbacks_come_before_which() -> None:
    last = calls_before(list(instructions(DISASSEMBLY, CALLBACK)))
    assert last == {INNER: frozenset([BEGUN])}


OLD = [f"old {number};" for number in range(1, 31)]


def patched(new: Sequence[str]) -> str:
    """The diff of git's that makes `OLD` to `new`."""
    body = "\n".join(difflib.unified_diff(OLD, new, f"a/{FILE}", f"b/{FILE}", lineterm=""))
    return f"diff --git a/{FILE} b/{FILE}\n{body}\n"


@given(st.data())
def test_what_a_hunk_changes_is_where_it_says(data: st.DataObject) -> None:
    """Each line that is added is there; each that is gone was before the place that is named."""
    new: list[str] = []
    for number, line in enumerate(OLD):
        fate = data.draw(st.sampled_from(["keep"] * 6 + ["gone", "change", "add"]))
        new += [f"new {number};"] if fate in ("change", "add") else []
        new += [line] if fate in ("keep", "add") else []
    found = [
        (changed, lines_about(hunk))
        for hunk in hunks_in(patched(new), lambda _: new)
        for changed in changed_in(hunk)
    ]
    added = [changed for changed, _ in found if not changed.gone]
    assert [(one.line, one.text) for one in added] == [
        (number, line) for number, line in enumerate(new, 1) if line.startswith("new")
    ]
    for changed, about in found:
        assert changed.line in about or changed.gone
        if changed.gone:
            after = new[changed.line - 1 :]
            gone = OLD.index(changed.text.split("\n")[0])
            assert all(line.startswith("new") or OLD.index(line) > gone for line in after)


def told_of(lines: Lines, reached: set[int], new: Sequence[str]) -> Reached:
    hunks = hunks_in(patched(new), lambda _: new)
    return Reached(changed_lines(hunks, lines), reached, {"svm": 5}, {"svm": 5})


def with_line(at: int, text: str) -> list[str]:
    return [*OLD[: at - 1], text, *OLD[at - 1 :]]


def code(*blocks: int, before: Sequence[int] = (), section: str = "") -> Code:
    return Code(frozenset(blocks), frozenset(before), frozenset([section] if section else []))


@pytest.mark.parametrize(
    ("of_line", "reached", "verdict"),
    [
        (code(1, 2), {2}, REACHED),
        (code(1, 2), {3}, NOT_REACHED),
        (code(1, before=[3]), {3}, SHARED),
        (code(before=[3]), {4}, NOT_REACHED),
        (code(1, section=".noinstr.text"), {1}, REACHED),
        (code(section=".noinstr.text"), {1}, "noinstr"),
        (code(section=".text"), {1}, SHARED),
        (None, {1}, NO_CODE),
    ],
)
def test_what_becomes_of_a_line(of_line: Code | None, reached: set[int], verdict: str) -> None:
    lines = {FILE: {30: code(9)} | ({10: of_line} if of_line else {})}
    told = told_of(lines, reached, with_line(10, "new();"))
    assert [one for _, one in told.verdicts()] == [verdict]


def test_where_lines_are_gone_the_code_around_has_to_be_reached() -> None:
    new = OLD[:9] + OLD[10:]
    lines = {FILE: {9: code(1), 10: code(2)}}
    assert [one for _, one in told_of(lines, {1, 2}, new).verdicts()] == [REACHED]
    for reached in ({1}, {2}):
        told = told_of(lines, reached, new)
        assert [one for _, one in told.verdicts()] == [NOT_REACHED]
        assert told.verdicts()[0][0].line == 10


def test_what_is_in_a_line_that_was_not_reached_was_not() -> None:
    new = [*OLD[:9], "\tif (one", "\t    && two)", "\t\treturn 0;", "\treturn 1;", *OLD[9:]]
    shared = code(before=[1])
    lines = {FILE: {10: code(2), 12: shared, 13: shared}}
    told = [one for _, one in told_of(lines, {1}, new).verdicts()]
    assert told == [NOT_REACHED, NO_CODE, NOT_REACHED, SHARED]
    told = [one for _, one in told_of(lines, {1, 2}, new).verdicts()]
    assert told == [REACHED, NO_CODE, SHARED, SHARED]


@pytest.mark.parametrize("text", ["", "\t}", " * why", "/* why */", "// why", "\t} // why"])
def test_lines_that_do_nothing_are_not_told_of(text: str) -> None:
    assert not told_of({FILE: {10: code(1)}}, set(), with_line(10, text)).lines


def test_a_file_that_is_not_traced_is_said_to_be_so() -> None:
    told = told_of({}, set(), with_line(10, "new();"))
    assert [one for _, one in told.verdicts()] == [UNTRACED]
    assert any(UNTRACED in one and f"{FILE}:10" in one for one in sentences(told))


def test_no_difference_is_never_told_without_a_hunk_that_was_not_reached() -> None:
    new = with_line(5, "one();")
    new.insert(24, "two();")
    lines = {FILE: {5: code(1), 25: code(2)}}
    told = told_of(lines, {1}, new)
    said = list(sentences(told))
    assert said[0] == "Of 2 changed lines that have code 1 were reached"
    assert said[1] == f"Hunk 2 was not reached: {FILE}:25"
    assert doubt(told) == ", but hunk 2 was not reached"
    found = reached_json(told)
    assert found
    assert found["not_reached"] == [f"{FILE}:25"]
    assert not nothing_reached(told)
    assert nothing_reached(told_of(lines, set(), new))

    whole = told_of(lines, {1, 2}, new)
    assert list(sentences(whole)) == ["Every changed line that has code was reached (2)"]
    assert doubt(whole) == ""
    assert "not known" in doubt(None)
    assert next(sentences(Reached(unknown="gcc failed"))).endswith("not known: gcc failed")
