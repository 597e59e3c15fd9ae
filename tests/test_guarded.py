"""Guarded mutants, by which `bench.guarded` measures sets of schedules."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.guarded import Known, Told, blind, first, run
from bench.guards import Mutant, bits_of, function_of, mutants, variant_of
from fuzz.compare.compared import StepError, compared
from fuzz.compare.watch import HangError
from fuzz.schedule.schedule import Schedule
from variants.catalogue import built_in
from variants.machine import events
from variants.machine.machine import Machine, initial_state, step
from variants.machine.observation import Observation
from variants.machine.step import VENDORS, Vendor
from variants.variant import Variant, replaces

ORIGINALS = {vendor: compared(vendor, [built_in()["original"]]).machines[0] for vendor in VENDORS}
KNOWN = {vendor: Known(vendor) for vendor in VENDORS}
SOME = {
    vendor: [one for one in mutants(vendor, 220, 7) if one.target is not events.kvm_clear_queues]
    for vendor in VENDORS
}
"""An event injected again and again is one that `fuzz.compare.watch` has to end, in seconds."""


def machine_of(vendor: Vendor, variant: Variant) -> Machine:
    return compared(vendor, [variant]).machines[0]


def trace(machine: Machine, schedule: Schedule) -> list[Observation] | None:
    """What a schedule shows, without any memory; None if a mutant breaks the machine."""
    state, shown = initial_state(schedule.vcpus), []
    try:
        for taken in schedule.steps:
            state, observation = step(machine, state, taken)
            shown.append(observation)
    except (StepError, HangError):
        return None
    return shown


def drawn(vendor: Vendor, seed: int) -> Schedule:
    return next(blind(vendor, seed))


@settings(max_examples=40)
@given(st.sampled_from(VENDORS), st.integers(0, 199), st.integers(0, 1 << 32))
def test_a_mutant_is_told_where_its_trace_is_another(
    vendor: Vendor, number: int, seed: int
) -> None:
    mutant, schedule = SOME[vendor][number], drawn(vendor, seed)
    one = run(KNOWN[vendor], schedule)
    told = Told(mutant, vendor, KNOWN[vendor]).by(one)
    mine = trace(machine_of(vendor, variant_of(mutant, vendor)), schedule)
    assert told == (mine != trace(ORIGINALS[vendor], schedule))


@settings(max_examples=40)
@given(st.sampled_from(VENDORS), st.integers(0, 199), st.integers(0, 1 << 32))
def test_a_guard_decides_between_the_mutant_and_the_original(
    vendor: Vendor, number: int, seed: int
) -> None:
    always = SOME[vendor][number]._replace(guard=())
    never = always._replace(guard=(("L2", True), ("L2", False)))
    schedule = drawn(vendor, seed)
    original = trace(ORIGINALS[vendor], schedule)
    assert trace(machine_of(vendor, variant_of(never, vendor)), schedule) == original
    unguarded = trace(machine_of(vendor, unguarded_variant(always)), schedule)
    assert trace(machine_of(vendor, variant_of(always, vendor)), schedule) == unguarded


def unguarded_variant(mutant: Mutant) -> Variant:
    """The changed function in the place of the original."""
    return Variant("plain", "a mutant", (replaces(mutant.target)(function_of(mutant)),))


@pytest.mark.parametrize("vendor", VENDORS)
def test_mutants_are_many_and_chosen_by_a_seed(vendor: Vendor) -> None:
    def named(seed: int) -> list[str]:
        return [str(mutant) for mutant in mutants(vendor, 200, seed)]

    assert named(7) == named(7) != named(8)
    assert len({mutant.target for mutant in SOME[vendor]}) > 30
    asked = {name for mutant in SOME[vendor] for name, _ in mutant.guard}
    assert asked == bits_of(vendor).keys()
    schedules = [drawn(vendor, seed) for seed in range(20)]
    runs = [run(KNOWN[vendor], one) for one in schedules]
    told = [first(Told(mutant, vendor, KNOWN[vendor]), runs) for mutant in SOME[vendor][:60]]
    assert 5 < sum(one is not None for one in told) < 55
