"""What KVM guarantees, whatever the schedule and the variant; and that the model is a function."""

import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.compare import naive
from fuzz.compare.compared import compared
from fuzz.memory.automaton import Automaton
from fuzz.report.replay import automaton_of, replay, replay_json
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import dump
from tests.strategies import schedules
from variants.catalogue import choose
from variants.link import machine_of
from variants.machine.machine import State, deliver, initial_state, step
from variants.machine.observation import Observation
from variants.machine.points import POINTS
from variants.machine.step import Step
from variants.machine.vcpu import KVM_APIC_INIT, Irq, Mp, Vcpu, thaw

VARIANTS = choose("", [])
VECTORS = {"sipi": 0x12, "fixed": 0x31}


def walk(schedule: Schedule) -> list[tuple[str, State, Observation]]:
    """Every state and observation of every variant."""
    seen = []
    for variant in VARIANTS:
        state = initial_state(schedule.vcpus)
        for taken in schedule.steps:
            state, observation = step(machine_of(variant, schedule.vendor), state, taken)
            seen.append((variant.name, state, observation))
    return seen


@given(schedules())
def test_observations_agree_with_the_state(schedule: Schedule) -> None:
    for _, state, observation in walk(schedule):
        vcpu = thaw(state.vcpus[observation.on])
        assert observation.guest_mode == vcpu.guest_mode
        assert not (vcpu.guest_mode and vcpu.smm), "SMM leaves guest mode first"
        assert (observation.gif is None) == (schedule.vendor == "vmx")
        assert (observation.vmxon is None) == (schedule.vendor == "svm")
        assert (observation.vector is not None) == (observation.outcome == "sipi")
        if observation.outcome == "l2":
            assert vcpu.guest_mode
        if observation.outcome in ("l1", "l2", "smm", "sipi", "bsp-reset"):
            assert vcpu.mp_state == Mp.RUNNABLE, "a guest that ran is RUNNABLE"
        if observation.outcome == "blocked":
            assert vcpu.mp_state != Mp.RUNNABLE


@given(schedules())
def test_only_the_acting_vcpu_moves_on_its_own(schedule: Schedule) -> None:
    for variant in VARIANTS:
        state = initial_state(schedule.vcpus)
        for taken in schedule.steps:
            after, _ = step(machine_of(variant, schedule.vendor), state, taken)
            for number, (old, new) in enumerate(zip(state.vcpus, after.vcpus, strict=True)):
                if number != taken.on and old != new:
                    received = Vcpu(*old).mp_state, Vcpu(*new).mp_state
                    assert received[0] == received[1], "a message never changes mp_state"
            state = after


@given(schedules())
def test_a_blocked_vcpu_has_nothing_to_do(schedule: Schedule) -> None:
    for _, state, observation in walk(schedule):
        vcpu = thaw(state.vcpus[observation.on])
        if observation.outcome == "blocked" and not any(s.at for s in schedule.steps):
            assert not vcpu.pending_events, "a pending INIT or SIPI always wakes"


@given(schedules(races=False))
def test_init_latched_by_gif_is_not_lost(schedule: Schedule) -> None:
    """With GIF=0 an INIT stays pending through any step that leaves GIF=0."""
    if schedule.vendor != "svm":
        return
    variant = VARIANTS[0]
    state = initial_state(schedule.vcpus)
    for taken in schedule.steps:
        before = thaw(state.vcpus[taken.on])
        state, observation = step(machine_of(variant, "svm"), state, taken)
        after = thaw(state.vcpus[taken.on])
        held = before.pending_events & KVM_APIC_INIT and not before.gif and not after.gif
        ran = observation.outcome in ("l1", "blocked", "busy")
        if held and ran and taken.op not in ("vmrun", "stgi", "save-restore"):
            assert after.pending_events & KVM_APIC_INIT


@settings(deadline=None)
@given(schedules(races=False), st.sampled_from(("init", "sipi")))
def test_a_message_lands_only_at_points_that_the_step_passes(schedule: Schedule, mode: str) -> None:
    """Elsewhere it comes when the step is over. What is explored rests on that."""
    message = Irq(mode, 0x12)
    for variant in VARIANTS:
        machine = machine_of(variant, schedule.vendor)
        step_vcpu = machine.step_vcpu
        state = initial_state(schedule.vcpus)
        for taken in schedule.steps:
            before = state.vcpus[taken.on]
            calm = step_vcpu(before, taken, ())
            for point in POINTS.keys() - set(calm.passed):
                raced = step_vcpu(before, taken, ((point, message),))
                assert raced.observation == calm.observation
                assert raced.vcpu == deliver(calm.vcpu, message)
            state, _ = step(machine, state, taken)


@given(schedules())
def test_taking_vms_apart_changes_nothing(schedule: Schedule) -> None:
    """The automaton splits the variants where and as comparing whole VMs does."""
    subject = compared(schedule.vendor, VARIANTS)
    found = Automaton(subject).compare(schedule)
    splits = [
        (step, tuple(tuple(subject.names[member] for member in part) for part in parts))
        for step, parts in naive.compare(subject, schedule)
    ]
    assert [(step, divergence.groups) for step, divergence in found] == splits


@given(schedules())
def test_comparing_is_deterministic_and_independent_of_memory(schedule: Schedule) -> None:
    automaton = Automaton(compared(schedule.vendor, VARIANTS), max_edges=3)
    fresh = automaton.compare(schedule)
    assert automaton.compare(schedule) == fresh
    automaton.forget()
    assert automaton.compare(schedule) == fresh
    other = Automaton(compared(schedule.vendor, VARIANTS))
    assert other.compare(schedule) == fresh


@given(schedules())
def test_divergences_are_fewer_than_variants(schedule: Schedule) -> None:
    found = Automaton(compared(schedule.vendor, VARIANTS)).compare(schedule)
    assert len(found) < len(VARIANTS)
    for _, divergence in found:
        named = [name for group in divergence.groups for name in group]
        assert len(divergence.groups) > 1
        assert len(named) == len(set(named))


@given(schedules())
def test_identical_variants_never_diverge(schedule: Schedule) -> None:
    original = VARIANTS[0]
    assert Automaton(compared(schedule.vendor, (original, original))).compare(schedule) == []


@settings(max_examples=5, deadline=None)
@given(schedules(), st.integers(0, 99))
def test_a_fresh_process_replays_identically(schedule: Schedule, hash_seed: int) -> None:
    expected = replay_json(replay(automaton_of(schedule.vendor, VARIANTS), schedule))
    run = subprocess.run(
        [sys.executable, "-m", "fuzz.cli", "replay", "--json", "/dev/stdin"],
        input=dump(schedule),
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONHASHSEED": str(hash_seed)},
    )
    assert run.returncode == (1 if expected["divergences"] else 0), run.stderr
    assert json.loads(run.stdout) == expected


def test_woke_is_about_the_hlt_alone() -> None:
    """An NMI before HLT, or an interrupt after it, does not explain why the HLT ended."""
    sipi, nmi = Step("icr", 0, 1, "sipi", 0x12), Step("icr", 0, 1, "nmi")
    fixed, runnable = Step("icr", 0, 1, "fixed", 0x31), Step("set-mp-state", 1, mode="RUNNABLE")
    steps = (sipi, nmi, Step("hlt", 1))
    seen = {name: trace[-1] for name, trace in traces(Schedule("svm", 2, steps)).items()}
    assert {name: one.taken for name, one in seen.items()} == dict.fromkeys(seen, ("nmi",))
    assert {name for name, one in seen.items() if one.woke} == {"paolo"}
    after = Schedule("svm", 2, (Step("hlt", 1), runnable, fixed, Step("sti", 1)))
    for trace in traces(after).values():
        assert (trace[-1].taken, trace[-1].woke) == (("fixed:0x31",), True)
    ended_by_it = Schedule("svm", 2, (Step("hlt", 1), nmi, Step("nop", 1)))
    for trace in traces(ended_by_it).values():
        assert (trace[-1].taken, trace[-1].woke) == (("nmi",), False)


def test_a_vm_exit_before_l2_start_code_runs_leaves_it_behind() -> None:
    """A SIPI starts L2 at its vector; the SMI exit comes first and L1 goes on after VMRUN."""
    steps = (
        Step("vmrun", 1, controls=("smi",)),
        Step("set-mp-state", 1, mode="INIT_RECEIVED"),
        Step("smi", 1),
        Step("icr", 0, 1, "sipi", 0x12),
        Step("nop", 1),
        Step("nop", 1),
    )
    for trace in traces(Schedule("svm", 2, steps)).values():
        assert trace[-2].nested_exit is not None
        assert [one.outcome for one in trace[-2:]] == ["l1", "l1"]


def test_a_handler_that_has_not_run_took_nothing() -> None:
    """KVM spins between an injected NMI and an interrupt exit that IF=0 holds back."""
    fixed, nmi = Step("icr", 0, 1, "fixed", 0x31), Step("nmi", 1)
    enter = Step("vmrun", 1, controls=("intr",))
    for trace in traces(Schedule("svm", 2, (fixed, enter, nmi, Step("nop", 1)))).values():
        assert (trace[-1].outcome, trace[-1].taken) == ("busy", ())
    for trace in traces(Schedule("svm", 2, (nmi, fixed, Step("sti", 1)))).values():
        assert trace[-1].taken == ("nmi", "fixed:0x31")


def test_a_reset_with_l2s_vmcs_loaded_cannot_be_entered() -> None:
    """KVM_GET_MP_STATE in L2's wait-for-SIPI: paolo resets the vCPU there, the VM entry fails."""
    init = Step("icr", 1, 0, "init")
    wait = Step("vmlaunch", 0, mode="wait-for-sipi")
    steps = (Step("vmxon", 0), wait, init, Step("get-mp-state", 0), Step("nop", 0), Step("nop", 0))
    ends = {
        name: [one.outcome for one in trace[-2:]]
        for name, trace in traces(Schedule("vmx", 2, steps)).items()
    }
    assert ends["paolo"] == ["error", "error"]
    assert ends["yadong"] == ["blocked", "blocked"]


def test_rsm_to_start_code_fails_where_a_reset_left_vmx_operation_on() -> None:
    """Only paolo resets in VMX operation. CR4.VMXE is then 0 until start code has run; RSM may not
    load such a CR4. Live: KVM_EXIT_INTERNAL_ERROR, suberror KVM_INTERNAL_ERROR_EMULATION."""
    for schedule in smm_after_a_reset_in_vmx_operation():
        started = schedule.steps[-4].op == "nop"
        last = traces(schedule)["paolo"][-1]
        assert last.outcome == ("l1" if started else "error")
        assert (last.executed, last.vmxon, last.smm) == (True, True, False)
    smm = (Step("smi", 0), Step("nop", 0), Step("rsm", 0))
    outside = (Step("icr", 1, 0, "init"), Step("get-mp-state", 0), *smm)
    for trace in traces(Schedule("vmx", 2, outside)).values():
        assert trace[-1].outcome == "bsp-reset"


def smm_after_a_reset_in_vmx_operation() -> list[Schedule]:
    """INIT and SIPI in L2's wait-for-SIPI, a migration, start code that has run or not, SMM."""
    made = []
    for on, started in product((0, 1), ((), ("nop",))):
        sent = (Step("icr", 1 - on, on, mode, VECTORS.get(mode, 0)) for mode in ("init", "sipi"))
        wait = (Step("vmxon", on), Step("vmlaunch", on, mode="wait-for-sipi"), *sent)
        ran = (Step("save-restore", on), *(Step(op, on) for op in started))
        steps = (*wait, *ran, Step("smi", on), Step("nop", on), Step("rsm", on))
        made.append(Schedule("vmx", 2, steps))
    return made


def test_rsm_to_l2s_start_code_loads_l2s_cr4() -> None:
    """A SIPI, overtaken by an INIT that L2's wait-for-SIPI drops, starts L2 without a reset."""
    steps = (
        Step("vmxon", 1),
        Step("vmlaunch", 1, mode="wait-for-sipi"),
        Step("icr", 0, 1, "sipi", 0x12),
        Step("icr", 0, 1, "init", at="accept-pending"),
        Step("get-mp-state", 1),
        Step("smi", 1),
        Step("nop", 1),
        Step("rsm", 1),
    )
    last = traces(Schedule("vmx", 2, steps))["paolo"][-1]
    assert (last.outcome, last.guest_mode) == ("sipi", True)


def test_what_is_pending_comes_before_the_entry_that_fails() -> None:
    """RSM back to L2 with L1's half lost: INIT resets the vCPU, an SMI is taken, all else is not
    seen any more. What VMRUN intercepted is lost too."""
    fails, in_smm = ("error", "VMEXIT_INVALID", False), ("error", "", True)
    waits, starts = ("blocked", "", False), ("bsp-reset", "", False)
    for schedule in migrated_in_smm():
        rsm, modes = schedule.steps[-1], {one.mode for one in schedule.steps}
        expected = fails
        if "init" in modes:
            expected = starts if rsm.on == 0 else waits
        elif "smi" in modes:
            expected = in_smm
        for trace in traces(schedule).values():
            exit_reason = trace[-1].nested_exit.reason if trace[-1].nested_exit else ""
            assert (trace[-1].outcome, exit_reason, trace[-1].smm) == expected


def test_a_vcpu_reset_on_its_way_back_to_a_lost_l1_is_as_good_as_new() -> None:
    more = (Step("icr", 0, 1, "sipi", 0x12), Step("nop", 1), Step("vmrun", 1), Step("nop", 1))
    for schedule in migrated_in_smm():
        if any(one.mode == "init" and one.to == 1 for one in schedule.steps):
            for trace in traces(schedule._replace(steps=schedule.steps + more)).values():
                assert [one.outcome for one in trace[-3:]] == ["sipi", "l2", "l2"]


def migrated_in_smm() -> list[Schedule]:
    """L2, with and without IF and intercepts, an SMI, a migration in SMM, messages, RSM."""
    events = ("init", "sipi", "smi", "nmi", "fixed")
    made = []
    for on, controls, sti in product((0, 1), ((), ("init", "nmi")), ((), ("sti",))):
        before = (*(Step(op, on) for op in sti), Step("vmrun", on, controls=controls))
        before += (*(Step(op, on) for op in sti), Step("smi", on), Step("nop", on))
        for some in (few for many in range(4) for few in combinations(events, many)):
            sent = (Step("icr", 1 - on, on, mode, VECTORS.get(mode, 0)) for mode in some)
            steps = (*before, Step("save-restore", on), *sent, Step("rsm", on))
            made.append(Schedule("svm", 2, steps))
    return made


def traces(schedule: Schedule) -> Mapping[str, tuple[Observation, ...]]:
    return replay(automaton_of(schedule.vendor, VARIANTS), schedule).traces
