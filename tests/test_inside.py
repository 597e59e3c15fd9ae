"""What instrumented builds of KVM tell, without one: places, messages, races, tables."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.live.coverage import Function, function_of, table
from fuzz.schedule.codes import encode as as_bytes
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import ScheduleError, block_of
from fuzz.schedule.text import dump, load, schedule_json
from tests.races import RACE
from variants.live.inside import BLOCKS, SOURCES, Block
from variants.live.landing import NEVER, Landed, at_block, landed, landing_in, passed
from variants.live.layout import NOWHERE, Place, hits, place
from variants.live.protocol import Refused, decode, encode
from variants.live.spots import LEFT_OUT, SPOTS
from variants.live.symbols import Frame, place_of
from variants.machine.points import POINTS

LAYOUT = ((0xC0200000, "kvm", ".text"), (0xC0300000, "kvm_amd", ".text"))
HEAD = "M kvm .text c0200000\nM kvm_amd .text c0300000\n"


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
