"""Schedules convert without loss, and bad ones are told in one line."""

import json
import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.campaign.coverage import COUNTERS, ByOutline
from fuzz.campaign.mutator import MAX_STEPS as MAX_INPUT_STEPS
from fuzz.campaign.mutator import Mutator, crossover_of
from fuzz.campaign.palette import unmixed
from fuzz.campaign.target import runner
from fuzz.campaign.walker import Walker
from fuzz.compare.compared import compared
from fuzz.memory.automaton import Automaton
from fuzz.schedule import codes as as_codes
from fuzz.schedule import text as as_text
from fuzz.schedule.alphabet import families_of
from fuzz.schedule.codes import fuzz_input, schedule_of_input
from fuzz.schedule.file import is_yaml, schedule_in
from fuzz.schedule.schedule import MAX_STEPS, Schedule, ScheduleError
from tests.strategies import schedules
from variants.catalogue import choose
from variants.machine.step import VENDORS, Step, Vendor


@given(schedules())
def test_yaml_round_trip(schedule: Schedule) -> None:
    assert as_text.load(as_text.dump(schedule)) == schedule


@given(schedules())
def test_bytes_round_trip(schedule: Schedule) -> None:
    assert as_codes.decode(as_codes.encode(schedule)) == schedule


@given(schedules())
def test_json_has_the_keys_of_the_format(schedule: Schedule) -> None:
    """JSON is YAML: what is printed for a program reads as the same schedule."""
    shown = json.dumps(as_text.schedule_json(schedule), ensure_ascii=False)
    assert as_text.load(shown) == schedule
    assert not {"true", "True"} & set(re.findall(r'"(\w+)":', shown))


@given(schedules())
def test_what_a_file_holds_tells_yaml_from_bytes(schedule: Schedule) -> None:
    as_yaml, as_bytes = as_text.dump(schedule).encode(), as_codes.encode(schedule)
    assert is_yaml(as_yaml, "case")
    assert not is_yaml(as_bytes, "case")
    for data in (as_yaml, as_bytes):
        assert schedule_in(data, "case")._replace(name=schedule.name) == schedule


def test_long_schedules_of_bytes_are_no_yaml() -> None:
    """Their header and interrupt messages have no byte that text could not have."""
    icr = Step("icr", 1, -3, "fixed", 0xF0, "")
    for count in (300, 1100, MAX_STEPS):
        schedule = Schedule("svm", 4, (icr,) * count, "long")
        assert schedule_in(as_codes.encode(schedule), "case") == schedule


@given(schedules(), st.sampled_from("\0\t\n\r\x1b\x7f\x9b\u200b\u202e\u2028\u2029\ud800\udfff"))
def test_names_are_one_line_of_text(schedule: Schedule, wrong: str) -> None:
    """Whichever way they come in: nothing that a terminal obeys, nothing that has no encoding."""
    for bad in (
        schedule._replace(name=schedule.name + wrong),
        schedule._replace(about=wrong + schedule.about),
    ):
        with pytest.raises(ScheduleError) as caught:
            as_codes.encode(bad)
        assert str(caught.value).isprintable()
        with pytest.raises(ScheduleError) as caught:
            as_text.load(json.dumps(as_text.schedule_json(bad)))
        assert "line 1, column" in str(caught.value)
        assert str(caught.value).isprintable()
        names = f"{bad.name}\0{bad.about}\0".encode("utf-8", "surrogatepass")
        with pytest.raises(ScheduleError) as caught:
            as_codes.decode(as_codes.fuzz_input(schedule) + names)
        assert str(caught.value).isprintable()


def test_a_block_ends_with_no_line_break() -> None:
    text = "format: 1\nabout: >\n  one\n  line\n\nvendor: svm\nvcpus: 2\nsteps: []\n"
    assert as_text.load(text).about == "one line"


def test_more_steps_than_a_schedule_has() -> None:
    longest = Schedule("svm", 2, (Step("nop", 1),) * MAX_STEPS, "long")
    assert as_text.load(as_text.dump(longest)) == longest
    assert as_codes.decode(as_codes.encode(longest)) == longest
    over = longest._replace(steps=(*longest.steps, Step("nop", 1)))
    with pytest.raises(
        ScheduleError, match="line 6, column 1: too many steps, expected 4000 at most"
    ):
        as_text.load(as_text.dump(over))
    with pytest.raises(ScheduleError, match="4001 steps, expected 4000 at most"):
        as_codes.decode(as_codes.fuzz_input(over))


@given(schedules(), st.data())
def test_truncated_bytes_are_an_error(schedule: Schedule, data: st.DataObject) -> None:
    whole = as_codes.encode(schedule)
    codes = 2 + 2 * (int.from_bytes(whole[:2], "little") >> 3)
    kept = data.draw(st.integers(0, len(whole) - 1).filter(lambda n: n != codes))
    with pytest.raises(ScheduleError):
        as_codes.decode(whole[:kept])


@given(st.binary())
def test_any_bytes_decode_or_are_an_error(data: bytes) -> None:
    try:
        schedule = as_codes.decode(data)
    except ScheduleError:
        return
    assert as_codes.encode(schedule) == data or schedule.name == schedule.about == ""


@given(st.text())
def test_any_text_loads_or_is_an_error(text: str) -> None:
    try:
        schedule = as_text.load(text)
    except ScheduleError as error:
        problem = str(error)
    else:
        problem = ""
        assert as_text.load(as_text.dump(schedule)) == schedule
    assert problem == "" or problem.isprintable()


@pytest.mark.parametrize("vendor", VENDORS)
@given(data=st.binary(max_size=40), other=st.binary(max_size=40), seed=st.integers(0, 2**32 - 1))
def test_mutations_are_schedules(vendor: Vendor, data: bytes, other: bytes, seed: int) -> None:
    mutate = Mutator(vendor)
    mutated = mutate(mutate(b"", 0, seed), 0, seed ^ 0x5A5A)
    assert len(mutated) % 2 == 0
    assert 2 <= len(mutated) <= 2 + 2 * MAX_INPUT_STEPS
    for at in range(2, len(mutated), 2):
        code = int.from_bytes(mutated[at : at + 2], "little")
        assert as_codes.decode_step(code) is not None
    assert len(crossover_of(mix=True)(data, other, 0, seed)) <= 2 + 2 * MAX_INPUT_STEPS


@given(st.lists(st.integers(0, 0xFFFF), max_size=20), st.lists(st.integers(0, 2**32), max_size=9))
@example([42048], [8944567, 0])  # a message to itself, of a vCPU that does not get to send it
def test_inputs_are_not_mixed(codes: list[int], seeds: list[int]) -> None:
    """Races, NMIs, SMIs or interrupts, and one message in a step: what is explored to the end."""
    data = unmixed(as_codes.pack([0, *codes]))
    assert unmixed(data) == data
    mutate = Mutator("svm", Walker(Automaton(compared("svm", choose("", [])))))
    for seed in seeds:
        data = mutate(data, 0, seed)
        steps = schedule_of_input(data).steps
        families = {name for step in steps for name in families_of(step)}
        assert len(families) + any(step.at for step in steps) <= 1
        for one, other in pairwise(steps):
            assert not (one.at and (other.at or other.op == "save-restore"))


@given(
    st.lists(st.integers(0, 0xFFFF), max_size=20), st.lists(st.integers(0, 2**32 - 1), max_size=9)
)
def test_what_inputs_have_in_common_is_walked_once(codes: list[int], seeds: list[int]) -> None:
    """Mutated inputs, one after the other, lead where each leads alone."""
    walker = Walker(Automaton(compared("vmx", choose("", []))))
    mutate = Mutator("vmx", walker, mix=True)
    data = as_codes.pack([1, *codes])
    for seed in seeds:
        data = mutate(data, 0, seed)
        shared = [node.joint for node in walker.walk(data)]
        assert shared == [node.joint for node in Walker(walker.automaton).walk(data)]
        assert len(shared) == len(schedule_of_input(data).steps)


SIPI_TO_ITSELF = (Step("icr", 1, 1, "sipi", 0x12),)
"""paolo keeps it."""


@given(st.lists(st.integers(0, 2**32 - 1), max_size=9))
def test_inputs_are_gone_on_with_where_variants_differ_inside(seeds: list[int]) -> None:
    """The places are those at which a schedule that ends there shows a latent divergence."""
    walker = Walker(Automaton(compared("vmx", choose("", []))))
    mutate, data = Mutator("vmx", walker), fuzz_input(Schedule("vmx", 2, SIPI_TO_ITSELF))
    assert walker.latent(data, 2) == [1]
    for seed in seeds:
        data = mutate(data, 0, seed)
    ends = [
        number
        for number in range(len(data) // 2)
        for _, found in walker.automaton.compare(schedule_of_input(data[: 2 + 2 * number]))
        if found.signature.kind == "latent"
    ]
    assert walker.latent(data, MAX_INPUT_STEPS + 1) == list(dict.fromkeys(ends))


@given(st.lists(st.integers(0, 0xFFFF), max_size=20))
def test_the_automaton_takes_any_codes(codes: list[int]) -> None:
    automaton = Automaton(compared("vmx", choose("", [])), counting=ByOutline())
    counters = bytearray(COUNTERS)
    runner(Walker(automaton), counters)(as_codes.pack([1, *codes]))
    assert (1 in counters) == bool(schedule_of_input(as_codes.pack([1, *codes])).steps)


def steps(text: str) -> str:
    return f"format: 1\nvendor: svm\nvcpus: 2\nsteps:\n{text}"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "line 1, column 1", "expected a schedule"),
        ("- a", "line 1, column 1", "expected a mapping"),
        ("format: 2", "line 1, column 1", "needs vendor"),
        (steps("- fly: {on: 1}"), "line 5, column 3", "unknown step 'fly'"),
        (steps("- hlt: {on: 2}"), "line 5, column 3", "vCPU 2 out of range"),
        (steps("- vmxon: {on: 1}"), "line 5, column 3", "not a step for svm"),
        (steps("- hlt: {}"), "line 5, column 3", "hlt needs on"),
        (steps("- hlt: {on: 1, off: 2}"), "line 5, column 16", "unknown key 'off'"),
        (steps("- hlt: {on: 1, on: 1}"), "line 5, column 16", "given twice"),
        (steps("- icr: {from: 0, to: 1, mode: sip}"), "line 5, column 31", "expected init or"),
        (
            steps("- icr: {from: 0, to: 1, mode: sipi, vector: 256}"),
            "line 5, column 45",
            "0 to 255",
        ),
        (steps("- icr: {from: 0, to: 1, mode: nmi, at: x}"), "line 5, column 40", "run-loop"),
        (steps("- vmrun: {on: 1, intercept: init}"), "line 5, column 29", "expected a list"),
        (steps("- icr: {from: 0, to: 1, mode: fixed, vector: 3}"), "line 5", "fixed vector 0x03"),
        (steps("- vmrun: {on: 1, intercept: [init, init]}"), "line 5, column 36", "given twice"),
        ("a: [1", "line 1, column 6", "not YAML"),
        ("a: \x1b", "line 1, column 4", "not YAML: character '\\x1b'"),
        ('a:\n "\\UFFFFFFFF"', "line 2, column 5", "number out of range"),
        ("%YAML 1." + "9" * 5000, "line 1, column 9", "number out of range"),
        ("[" * 5000, "line 1", "nested too deeply"),
        ("format: 1\nvendor: svm\nsteps: []\nvcpus: 0x" + "f" * 3600, "line 4", "2 to 4, not '0xf"),
        ("format: 1\nvendor: svm\nsteps: []\nvcpus: " + "9" * 5000, "line 4", "2 to 4, not '999"),
        (steps("- " + "hlt" * 99 + ": {on: 1}"), "line 5, column 3", "hlt...thl"),
    ],
)
def test_yaml_errors_say_where_and_what(text: str, where: str, what: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        as_text.load(text)
    assert where in str(caught.value)
    assert what in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
