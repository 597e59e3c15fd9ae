"""What instrumented builds of KVM tell, without one: places, messages, races, tables."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.live.coverage import Function, function_of, table
from fuzz.live.landings import Landing, Race, Shown, Try, races_in, with_at, without
from fuzz.live.race_shrink import lost, minimised, smaller
from fuzz.live.races import Interval, Told, between, chosen, sparse
from fuzz.live.races_text import CAME_TO, came_to, races_table
from fuzz.schedule.codes import encode as as_bytes
from fuzz.schedule.file import read_schedule
from fuzz.schedule.order import weight
from fuzz.schedule.schedule import Schedule, ScheduleError, block_of, check
from fuzz.schedule.seeds import seed_files
from fuzz.schedule.text import dump, load, schedule_json
from variants.live.inside import BLOCKS, SOURCES, Block
from variants.live.landing import NEVER, Landed, at_block, landed, landing_in, passed
from variants.live.layout import NOWHERE, Place, hits, place
from variants.live.protocol import Refused, decode, encode
from variants.live.spots import LEFT_OUT, SPOTS
from variants.live.symbols import Frame, place_of
from variants.machine.observation import Observation
from variants.machine.points import POINTS
from variants.machine.step import Step

LAYOUT = ((0xC0200000, "kvm", ".text"), (0xC0300000, "kvm_amd", ".text"))
HEAD = "M kvm .text c0200000\nM kvm_amd .text c0300000\n"
SHOWN = Observation(
    on=1,
    outcome="l1",
    executed=True,
    vector=None,
    nested_exit=None,
    guest_mode=False,
    gif=True,
    vmxon=None,
    smm=False,
    latched_init=None,
    mp_state=None,
    taken=(),
    woke=False,
    warn=None,
)
RACE = """\
format: 1
name: race
vendor: svm
vcpus: 2
steps:
- icr: {from: 0, to: 1, mode: init, at: {block: 12}}
- nop: {on: 1}
"""


@given(st.sampled_from(LAYOUT), st.integers(0, 0xFFFFF))
def test_an_address_is_in_the_section_that_it_is_in(
    section: tuple[int, str, str], offset: int
) -> None:
    base, module, name = section
    assert place(LAYOUT, base + offset) == Place(module, name, offset)


def test_an_address_below_all_sections_is_nowhere() -> None:
    assert place(LAYOUT, 0x1000)[:2] == NOWHERE[:2]


@given(st.sets(st.integers(0, 200)))
def test_hits_are_the_bits_that_are_set(numbers: set[int]) -> None:
    bits = sum(1 << number for number in numbers)
    assert hits(bits.to_bytes(26, "little").hex()) == sorted(numbers)


def test_what_schedules_reach_is_told_with_each_blocks_address_once() -> None:
    said = "B 0\nR\nC c0200010,c0300020, 03\nE 0 ok 1\nB 1\nR\nC c0200030, 06\nE 1 ok 1\nD\n"
    ended, _, done = decode(HEAD + said)
    first, second, third = (
        Place("kvm", ".text", 0x10),
        Place("kvm_amd", ".text", 0x20),
        Place("kvm", ".text", 0x30),
    )
    assert done
    assert ended[0].reached == {first, second}
    assert ended[1].reached == {second, third}


def test_a_schedule_that_was_run_again_has_reached_what_it_did_then() -> None:
    ended, _, _ = decode(HEAD + "B 0\nB 0\nR\nC c0200010,c0200020, 02\nE 0 ok 1\nD\n")
    assert ended[0].reached == {Place("kvm", ".text", 0x20)}


def test_where_messages_landed() -> None:
    raw = {"landed": "7:c0200010:1:0,-1:0:0:0", "pcs": "c0200000,c0300010"}
    there, late = landed(raw, LAYOUT)
    assert there == Landed(7, Place("kvm", ".text", 0x10), True, False)
    assert late.number == -1
    assert passed(raw, LAYOUT) == [Place("kvm", ".text", 0), Place("kvm_amd", ".text", 0x10)]


def test_the_agent_is_told_where_a_message_lands(tmp_path: Path) -> None:
    landing = landing_in(tmp_path)
    plain = schedule_json(load(RACE))
    assert encode(0, plain, landing=landing).splitlines()[1].endswith(" 12")
    plain["steps"][0]["icr"]["at"] = at_block(2, [Place("kvm_amd", ".text", 0x1F)])
    assert encode(0, plain, landing=landing).splitlines()[1].endswith(" 2@kvm_amd:.text+1f")


def built(folder: Path, above: int, *lines: tuple[str, int]) -> Path:
    """An instrumented build of a function that begins `above` lines below the file's first: its
    lines, and how many blocks each has."""
    file = "arch/x86/kvm/lapic.c"
    (folder / SOURCES / file).parent.mkdir(parents=True)
    (folder / SOURCES / file).write_text("\n".join([*[""] * above, *(text for text, _ in lines)]))
    numbers = [above + 1 + at for at, (_, blocks) in enumerate(lines) for _ in range(blocks)]
    frames = [Frame("kvm_apic_accept_events", file, number) for number in numbers]
    blocks = [Block(Place("kvm", ".text", at), (frame,)) for at, frame in enumerate(frames)]
    (folder / BLOCKS).write_text(json.dumps(blocks))
    return folder


ACCEPT = (
    *(("void accept(vcpu)", 1), ("if (!pending)", 2), ("if (kvm_vcpu_latch_init(vcpu))", 2)),
    *(("\tWARN_ON_ONCE(waits);", 0), ("pe = xchg(pending, 0);", 1)),
)


@given(above=st.integers(0, 20))
def test_a_preemption_point_is_found_wherever_its_line_is(
    tmp_path_factory: pytest.TempPathFactory, above: int
) -> None:
    landing = landing_in(built(tmp_path_factory.mktemp("build"), above, *ACCEPT))
    assert landing("accept-pending") == "0+0@kvm:.text+3,kvm:.text+4"
    assert landing("accept-taken") == "0+0@kvm:.text+5"


def test_what_no_block_stands_for_is_refused_by_name(tmp_path: Path) -> None:
    landing = landing_in(built(tmp_path, 0, *ACCEPT))
    with pytest.raises(Refused, match="accept-latched: no block of its own"):
        landing("accept-latched")
    with pytest.raises(Refused, match="guest-executed: the guest runs"):
        landing("guest-executed")


def test_a_point_that_only_patches_pass_lands_after_the_step_elsewhere(tmp_path: Path) -> None:
    assert landing_in(built(tmp_path, 0, *ACCEPT))("nested-sipi") == str(NEVER)


def test_each_preemption_point_is_somewhere_or_left_out() -> None:
    assert SPOTS.keys() | LEFT_OUT.keys() == POINTS.keys()
    assert not SPOTS.keys() & LEFT_OUT.keys()


def test_no_message_lands_within_a_migration(tmp_path: Path) -> None:
    landing = landing_in(built(tmp_path, 0, *ACCEPT))
    plain = schedule_json(load(RACE.replace("{block: 12}", "accept-taken")))
    assert encode(0, plain, landing=landing)
    plain["steps"][1] = {"save-restore": {"on": 1}}
    with pytest.raises(Refused, match="save-restore"):
        encode(0, plain, landing=landing)


def test_a_kvm_without_callbacks_refuses_a_race() -> None:
    with pytest.raises(Refused):
        encode(0, schedule_json(load(RACE)))


def test_a_message_at_a_block_is_text_and_not_bytes() -> None:
    schedule = load(RACE)
    assert block_of(schedule.steps[0].at) == 12
    assert load(dump(schedule)) == schedule
    with pytest.raises(ScheduleError, match="block"):
        as_bytes(schedule)


@pytest.mark.parametrize("at", ["{block: -1}", "{block: x}", "{}", "{line: 3}", "[1]"])
def test_a_block_that_is_none_is_refused_with_its_place(at: str) -> None:
    with pytest.raises(ScheduleError, match="line 6"):
        load(RACE.replace("{block: 12}", at))


def test_models_have_no_blocks(tmp_path: Path) -> None:
    file = tmp_path / "race.yaml"
    file.write_text(RACE)
    assert read_schedule(str(file), blocks=True).steps[0].at
    with pytest.raises(ScheduleError, match="step 0"):
        read_schedule(str(file))


def test_each_message_races_with_the_steps_of_its_target_around_it() -> None:
    nop, hlt = Step("nop", 1), Step("hlt", 1)
    message = Step("icr", 0, to=1, mode="init")
    schedule = Schedule("svm", 2, (nop, Step("nop", 0), message, hlt))
    before, after = races_in(schedule)
    assert [step.op for step in before.schedule.steps] == ["icr", "nop", "nop", "hlt"]
    assert before.schedule.steps[before.step] == nop
    assert after.schedule.steps[after.step] == hlt
    assert after.schedule.steps[after.sent]._replace(at="") == message


@pytest.mark.parametrize("file", seed_files(), ids=lambda file: file.stem)
def test_a_race_keeps_all_steps_of_its_schedule(file: Path) -> None:
    schedule = read_schedule(str(file))
    for race in races_in(schedule):
        steps = [step._replace(at="") for step in race.schedule.steps]
        assert sorted(steps) == sorted(schedule.steps)
        assert race.schedule.steps[race.step].on == race.schedule.steps[race.sent].to


def test_a_schedule_with_a_race_has_that_alone() -> None:
    schedule = load(RACE)
    assert races_in(schedule) == [Race(schedule, 0)]


def test_of_two_races_in_a_schedule_the_other_lands_where_it_is_to() -> None:
    text = RACE.replace("- nop", "- icr: {from: 0, to: 1, mode: nmi, at: exit}\n- nop")
    (race,) = races_in(load(text))
    one, other = with_at(Try(race, at_block(3)))["steps"][:2]
    assert (one["icr"]["at"], other["icr"]["at"]) == (at_block(12), at_block(3))


@given(st.sampled_from(seed_files()).map(lambda file: read_schedule(str(file))))
def test_a_smaller_race_is_one_and_smaller(schedule: Schedule) -> None:
    for race in races_in(schedule):
        before = [weight(step) for step in without(race).steps]
        for found in smaller(race):
            check(without(found))
            message, target = found.schedule.steps[found.sent : found.step + 1]
            assert message.at
            assert message.op == "icr"
            assert message.to == target.on != message.on
            after = [weight(step) for step in without(found).steps]
            assert (len(after), after) < (len(before), before)


def outcome(rules: tuple[str, ...]) -> Told:
    """A race with one block, where a message breaks rules."""
    (race,) = races_in(load(RACE))
    one = Try(race, None)
    part = Interval(one, one, 1, (), (), tuple((1, rule) for rule in rules), sure=True)
    return Told(1, (), (), (part,), 0)


def test_what_all_builds_lose_is_not_told() -> None:
    told = {"old": outcome(("a",)), "new": outcome(("a", "b"))}
    (found,) = lost(told)
    assert (found.rule, list(found.first)) == ("b", ["new"])


@given(st.sampled_from(seed_files()).map(lambda file: read_schedule(str(file))), st.data())
def test_a_minimised_race_has_no_smaller_one(schedule: Schedule, data: st.DataObject) -> None:
    races = races_in(schedule)
    race = data.draw(st.sampled_from(races))
    needed = data.draw(st.sets(st.sampled_from([step._replace(at="") for step in schedule.steps])))

    def loses(race: Race) -> bool:
        return needed <= set(without(race).steps)

    def sweep(race: Race) -> dict[str, Told]:
        return {"old": outcome(()), "new": outcome(("rule",) if loses(race) else ())}

    found = minimised(race, sweep, lambda some, _: some)
    assert found
    assert loses(found.race)
    assert not any(map(loses, smaller(found.race)))
    assert (
        minimised(race, lambda _: {"old": outcome(()), "new": outcome(())}, lambda some, _: some)
        is None
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from([(), ("before",), ("after",), ("before", "after")]),
            st.integers(1, 9),
            st.sets(st.sampled_from(["a", "b"])),
        )
    )
)
def test_each_landing_is_in_one_column_of_the_table(
    parts: list[tuple[tuple[str, ...], int, set[str]]],
) -> None:
    (race,) = races_in(load(RACE))
    one = Try(race, None)
    intervals = tuple(
        Interval(one, one, landings, (), like, tuple((1, rule) for rule in rules), sure=True)
        for like, landings, rules in parts
    )
    told = [Told(1, (), (), intervals, 0)]
    *_, row = races_table([race], {"mine": told})
    _, schedule, name, races, landings, *counts, breaks, _ = map(str.strip, row.split("|"))
    assert (schedule, name, races) == ("race", "mine", "1")
    assert dict(zip(CAME_TO, map(int, counts), strict=True)) == came_to(told)
    assert int(landings) == sum(map(int, counts)) == sum(times for _, times, _ in parts)
    for rule in ("a", "b"):
        times = sum(times for _, times, rules in parts if rule in rules)
        assert (f"{rule} {times}" in breaks.split(", ")) == (times > 0)


def test_of_a_block_that_spins_the_first_times_are_taken() -> None:
    one, two = Place("kvm", ".text", 1), Place("kvm", ".text", 2)
    (race,) = races_in(load(RACE))
    taken = [(tried.at, tried.number) for tried in chosen(race, [one, two, *[one] * 50])]
    assert taken == [
        (at_block(0, [one]), 0),
        (at_block(0, [two]), 1),
        (at_block(1, [one]), 2),
        (at_block(2, [one]), 3),
    ]


@given(st.integers(1, 200), st.data())
def test_no_change_of_outcome_is_between_two_blocks_that_were_not_taken(
    count: int, data: st.DataObject
) -> None:
    places = [Place("kvm", ".text", number) for number in range(count)]
    events = data.draw(st.sets(st.sampled_from(places)))
    (race,) = races_in(load(RACE))
    tries = list(chosen(race, places))
    changes = data.draw(st.sets(st.integers(0, count), max_size=3))

    def landing_at(number: int) -> Landing:
        outcome = sum(change <= number for change in changes)
        at = Landed(number, places[number], False, False)
        return Landing(tries[number], Shown((SHOWN._replace(on=outcome),), at))

    first = {number: landing_at(number) for number in sparse(tries, {}, events)}
    found = first | {number: landing_at(number) for number in between(tries, first)}
    assert {places.index(event) for event in events} <= found.keys()
    for one, other in pairwise(sorted(found)):
        assert other == one + 1 or found[one].shown.trace == found[other].shown.trace


def test_a_helper_counts_for_the_function_that_it_is_inlined_in() -> None:
    event = Frame("kvm_apic_accept_events", "arch/x86/kvm/lapic.c", 2850)
    helper = Frame("test_bit", "arch/x86/include/asm/bitops.h", 200)
    tracing = Frame("trace_kvm_apic", "arch/x86/kvm/trace.h", 10)
    where = Place("kvm", ".text", 1)
    assert function_of(Block(where, (event,))) == event.function
    assert function_of(Block(where, (helper, event))) == event.function
    assert function_of(Block(where, (tracing, event))) == ""
    assert function_of(Block(where, (helper,))) == ""


def test_the_table_has_the_lines_that_no_schedule_reaches_and_why() -> None:
    def block(line: int) -> Block:
        frame = Frame("kvm_apic_accept_events", "arch/x86/kvm/lapic.c", line)
        return Block(Place("kvm", ".text", line), (frame,))

    blocks = ((block(20), 0), (block(10), 3), (block(10), 0), (block(15), 0), (block(30), 1))
    some, none = (
        Function("kvm_apic_accept_events", blocks),
        Function("kvm_apic_accept_events", blocks[:1]),
    )
    told = table([some, none], lambda one: "no SMM" if one.place.offset == 15 else "")
    assert list(told)[2:] == [
        "| `kvm_apic_accept_events` (lapic.c) | 2 of 5 | 3 | "
        "**no reason yet**: 10*, 20<br>no SMM: 15 |",
        "| `kvm_apic_accept_events` (lapic.c) | 0 of 1 | 0 | all |",
    ]


def test_a_place_in_the_source_is_named_as_in_the_kernels_tree(tmp_path: Path) -> None:
    root = str(tmp_path)
    said = f"{root}/arch/x86/kvm/../../../virt/kvm/kvm_main.c:2862 (discriminator 2)"
    assert place_of(said, [tmp_path]) == ("virt/kvm/kvm_main.c", 2862)
    assert place_of("??:?", [tmp_path]) == ("??", 0)
