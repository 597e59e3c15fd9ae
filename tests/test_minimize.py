"""A minimised schedule still shows its signature and cannot be made smaller."""

import pytest
from hypothesis import given, settings

from fuzz.minimize import minimize, rename, shows, smaller
from fuzz.replay import automaton_of
from fuzz.schedule import Schedule
from fuzz.schedule_yaml import load
from fuzz.variant_list import choose
from tests.strategies import schedules
from variants.machine.step import VENDORS, Step

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


def test_a_schedule_that_does_not_show_it_is_refused() -> None:
    schedule = claim("svm", "- nop: {on: 0}\n")
    with pytest.raises(ValueError, match="does not show"):
        minimize(AUTOMATA["svm"], schedule, "svm: liveness: nobody")


def test_renaming_leaves_shorthands_alone() -> None:
    assert rename(Step("icr", 0, -1, "init"), (1, 0)) == Step("icr", 1, -1, "init")
