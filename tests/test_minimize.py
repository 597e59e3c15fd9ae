"""A minimised schedule still shows its signature and cannot be made smaller."""

import pytest
from hypothesis import given, settings

from fuzz.compare.signature import Cause, Signature
from fuzz.report.replay import automaton_of
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import load
from fuzz.shrink.atlas import atlas_of
from fuzz.shrink.minimize import minimize, rename, shows, smaller
from tests.strategies import schedules
from variants.catalogue import choose
from variants.machine.step import VENDORS, Step, Vendor

AUTOMATA = {vendor: automaton_of(vendor, choose("", [])) for vendor in VENDORS}


@settings(deadline=None)
@given(schedules())
def test_minimised_is_one_minimal_and_keeps_its_signature(schedule: Schedule) -> None:
    automaton = AUTOMATA[schedule.vendor]
    for _, divergence in automaton.compare(schedule):
        smallest = minimize(automaton, schedule, divergence.signature)
        assert shows(automaton, smallest, divergence.signature) is not None
        assert len(smallest.steps) <= len(schedule.steps)
        for candidate in smaller(smallest):
            assert shows(automaton, candidate, divergence.signature) is None
        assert minimize(automaton, smallest, divergence.signature) == smallest


def claim(vendor: str, steps: str) -> Schedule:
    return load(f"format: 1\nvendor: {vendor}\nvcpus: 3\nsteps:\n{steps}")


NOISE = "- nop: {on: 0}\n- smi: {to: 0}\n- sti: {on: 2}\n"


def test_claim_1_is_yadong_alone_in_three_steps() -> None:
    schedule = claim(
        "svm",
        f"{NOISE}- vmrun: {{on: 2, intercept: [init, nmi]}}\n{NOISE}"
        "- icr: {from: 1, to: 2, mode: sipi, vector: 0x77}\n- nop: {on: 2}\n- hlt: {on: 2}\n",
    )
    automaton = AUTOMATA["svm"]
    ((_, found),) = automaton.compare(schedule)
    assert found.kind == "liveness"
    assert found.groups == (("original", "paolo"), ("yadong",))
    smallest = minimize(automaton, schedule, found.signature)
    assert smallest.vcpus == 2
    assert smallest.steps == (
        Step("vmrun", 1, controls=("init",)),
        Step("icr", 0, 1, "sipi"),
        Step("hlt", 1),
    )


@pytest.mark.parametrize("vendor", VENDORS)
def test_claim_2_is_paolo_alone(vendor: str) -> None:
    schedule = claim(
        vendor,
        f"{NOISE}- icr: {{from: 2, to: 1, mode: sipi, vector: 1}}\n"
        "- nop: {on: 1}\n- hlt: {on: 1}\n",
    )
    automaton = AUTOMATA[schedule.vendor]
    ((_, found),) = automaton.compare(schedule)
    assert found.groups == (("original", "yadong"), ("paolo",))
    smallest = minimize(automaton, schedule, found.signature)
    assert smallest.steps == (Step("icr", 0, 1, "sipi"), Step("hlt", 1))


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_is_found_twice_ends_in_the_same_schedule(vendor: str) -> None:
    """A detour, from which no step can be dropped, and the shortest way: the atlas knows both."""
    automaton = AUTOMATA[load(f"format: 1\nvendor: {vendor}\nvcpus: 2\nsteps: []").vendor]
    direct = claim(vendor, "- icr: {from: 0, to: 1, mode: sipi}\n- hlt: {on: 1}\n")
    detour = claim(
        vendor,
        "- hlt: {on: 1}\n- icr: {from: 0, to: 1, mode: sipi}\n- nop: {on: 1}\n- hlt: {on: 1}\n",
    )
    ((_, found),) = automaton.compare(direct)
    assert shows(automaton, detour, found.signature) is not None
    for schedule in (direct, detour):
        smallest = minimize(automaton, schedule, found.signature)
        assert smallest.steps == (Step("icr", 0, 1, "sipi"), Step("hlt", 1))


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_atlas_knows_races(vendor: Vendor) -> None:
    """No longer than what is given, whichever points are not in the way."""
    automaton = AUTOMATA[vendor]
    raced = (
        Step("icr", 0, 1, "sipi"),
        Step("icr", 0, 1, "init", 0, "accept-pending"),
        Step("get-mp-state", 1),
    )
    schedule = Schedule(vendor, 2, raced)
    ((_, found),) = automaton.compare(schedule)
    assert found.signature.cause.race
    known = schedule._replace(steps=(Step("nop", 1), Step("nop", 1), *raced))
    shortest = atlas_of(automaton.uncached).shortest(found.signature, known)
    assert shortest is not None
    assert len(shortest.steps) == len(raced)
    assert shows(automaton, shortest, found.signature) is not None


def test_a_schedule_that_does_not_show_it_is_refused() -> None:
    schedule = claim("svm", "- nop: {on: 0}\n")
    nobodys = Signature("svm", "liveness", Cause((), "nothing"), "")
    with pytest.raises(ValueError, match="does not show"):
        minimize(AUTOMATA["svm"], schedule, nobodys)


def test_renaming_leaves_shorthands_alone() -> None:
    assert rename(Step("icr", 0, -1, "init"), (1, 0)) == Step("icr", 1, -1, "init")
