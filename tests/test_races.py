"""Races on real KVM: which there are, at which blocks, what is lost, and where to look for more."""

from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.campaign.coverage import outline
from fuzz.compare.compared import compared
from fuzz.live.landings import Landing, Race, Shown, Try, races_in, with_at, without
from fuzz.live.novelty import walks
from fuzz.live.race_blocks import FEW, STRIDE, between, chosen, few, sparse
from fuzz.live.race_edges import NO_HANG, NO_WARN, Edges, hangs, kind, rulings
from fuzz.live.race_search import Known, mode_of, remember, unknown
from fuzz.live.race_shrink import Smallest, changed, drops, is_race, lost, plainer, smallest
from fuzz.live.race_states import beginnings, shorter, some_races, state_after, waits
from fuzz.live.races import Interval, Told
from fuzz.live.races_text import CAME_TO, came_to, races_table
from fuzz.schedule.file import read_schedule
from fuzz.schedule.order import weight
from fuzz.schedule.schedule import Schedule, check
from fuzz.schedule.seeds import seed_files
from fuzz.schedule.text import load
from tests.races import RACE, SHOWN, STARTED
from variants.catalogue import built_in
from variants.live.landing import Landed, at_block
from variants.live.layout import NOWHERE, Place
from variants.live.observe import BROKE_OFF
from variants.machine.step import VENDORS, Step, Vendor

INSIDE: Final = Path(__file__).parent.parent / "docs" / "inside"
RACING: Final = [
    read_schedule(str(f), blocks=True) for f in (*seed_files(), *INSIDE.glob("*.yaml"))
]


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


def test_messages_in_a_row_with_the_same_at_land_together() -> None:
    (race,) = races_in(load(STARTED))
    assert list(race.messages) == [0, 1]
    first, second = with_at(Try(race, at_block(3)))["steps"][:2]
    assert first["icr"]["at"] == second["icr"]["at"] == at_block(3)
    assert not any(step.at for step in without(race).steps)
    fewer = {one.schedule.steps[0].mode for one in (changed(race, [x]) for x in drops(race))}
    assert fewer == {"sipi"}


@given(st.sampled_from(RACING))
def test_a_smaller_race_is_one_and_smaller(schedule: Schedule) -> None:
    for race in races_in(schedule):
        before = [weight(step) for step in without(race).steps]
        for change in (*drops(race), *plainer(race)):
            found = changed(race, [change])
            assert is_race(found)
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
    part = Interval(one, one, (NOWHERE,), (), (), tuple((1, rule) for rule in rules), sure=True)
    return Told(1, (), (), (part,), 0)


def test_what_not_all_builds_lose_is_told_first() -> None:
    told = {"old": outcome(("a",)), "new": outcome(("a", "b"))}
    found = [(one.rule, list(one.first)) for one in lost(told)]
    assert found == [("b", ["new"]), ("a", ["old", "new"])]


@given(st.sampled_from(RACING), st.data())
def test_a_minimised_race_has_no_smaller_one(schedule: Schedule, data: st.DataObject) -> None:
    races = races_in(schedule)
    race = data.draw(st.sampled_from(races))
    needed = data.draw(st.sets(st.sampled_from([step._replace(at="") for step in schedule.steps])))

    def loses(race: Race) -> bool:
        return needed <= set(without(race).steps)

    def sweep(race: Race) -> dict[str, Told]:
        return {"old": outcome(()), "new": outcome(("rule",) if loses(race) else ())}

    told = sweep(race)
    (loss,) = lost(told)
    found = smallest(Smallest(race, told, loss), sweep, lambda some, _: some)
    assert loses(found.race)
    changes = (*drops(found.race), *plainer(found.race))
    assert not any(loses(changed(found.race, [one])) for one in changes)


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
        Interval(
            one, one, (NOWHERE,) * landings, (), like, tuple((1, rule) for rule in rules), sure=True
        )
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


@given(st.integers(STRIDE, 200), st.integers(0), st.data())
def test_a_glance_misses_no_window_of_event_blocks_that_is_wide(
    count: int, offset: int, data: st.DataObject
) -> None:
    places = [Place("kvm", ".text", number) for number in range(count)]
    (race,) = races_in(load(RACE))
    taken = few(list(chosen(race, places)), {}, places, offset)
    first = data.draw(st.integers(0, count - STRIDE))
    assert set(taken) & set(range(first, first + STRIDE))
    assert len(taken) <= count // STRIDE + 1 + FEW


def place_at(number: int) -> Place:
    return Place("kvm", ".text", number)


def broken(at: set[int], rule: str = "a") -> Told:
    """A race that breaks a rule with its message at some blocks."""
    (race,) = races_in(load(RACE))
    one = Try(race, None)
    places = tuple(map(place_at, sorted(at)))
    part = Interval(one, one, places, (), (), ((1, rule),), sure=True)
    return Told(9, (), (), (part,) if places else (), 0)


BLOCKS = st.sets(st.integers(0, 9))


@given(BLOCKS, BLOCKS, BLOCKS)
def test_new_is_what_breaks_a_rule_at_a_block_where_nothing_found_does(
    old: set[int], other: set[int], now: set[int]
) -> None:
    (race,) = races_in(load(RACE))
    known: Known = {}
    remember(race, {"mine": broken(old)}, "a", known)
    remember(race, {"mine": broken(other, "b")}, "a", known)
    remember(race, {"theirs": broken(other)}, "a", known)
    assert unknown(race, {"mine": broken(now)}, known) == ({"a"} if now - old else set())
    assert unknown(race, {"mine": broken(now, "b")}, known) == ({"b"} if now else set())


@pytest.mark.parametrize("vendor", VENDORS)
def test_races_are_looked_for_where_an_ap_has_an_event_pending(vendor: Vendor) -> None:
    subject = compared(vendor, [built_in()["original"]])
    (machine,) = subject.machines
    every = beginnings(machine, list(walks(subject, 8, seed=1)))
    for beginning in map(Random(1).choice, every[:20]):
        on = beginning.step.on
        less = shorter(machine, beginning)
        there = state_after(machine, less.before)
        before = state_after(machine, beginning.before)
        assert waits(there, on)
        assert outline(there.vcpus[on]) == outline(before.vcpus[on])
        assert len(less.before.steps) <= len(beginning.before.steps)
    modes = set()
    for race in islice(some_races(machine, every, Random(1)), 90):
        check(without(race))
        assert races_in(race.schedule) == [race]
        modes.add(mode_of(race))
    assert modes == {"init", "sipi", "init-sipi", "nmi", "smi", "fixed"}


def test_a_warn_is_told_as_a_broken_rule_and_a_run_that_broke_off_is_not() -> None:
    (race,) = races_in(load(RACE))
    warned = (SHOWN, SHOWN._replace(warn="kvm_apic_accept_events"))
    assert (1, NO_WARN) in rulings(race, warned)
    broke_off = (SHOWN, SHOWN._replace(warn=f"{BROKE_OFF}it hung"))
    assert NO_WARN not in {rule for _, rule in rulings(race, broke_off)}


@given(st.tuples(*[st.sampled_from(("l1", "sipi", "blocked", "busy"))] * 3))
def test_a_hang_is_told_of_a_vcpu_that_goes_on_before_and_after(ends: tuple[str, ...]) -> None:
    before, after, outcome = ((SHOWN, SHOWN._replace(outcome=end)) for end in ends)
    goes_on = {"l1", "sipi"}
    told = {*ends[:2]} <= goes_on and ends[2] not in goes_on
    assert hangs(Edges(before, after, frozenset()), outcome) == [(1, NO_HANG)] * told


def test_a_halt_that_ends_tells_of_one_fault_whichever_event_is_blamed() -> None:
    woken, started = SHOWN._replace(woke=True), SHOWN
    kinds = {kind((0, rule), (woken,)) for rule in ("hlt-init", "hlt-blocked", "sipi-kept")}
    assert kinds == {"hlt"}
    assert kind((0, "sipi-kept"), (started,)) == "sipi-kept"
