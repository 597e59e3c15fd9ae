"""Variants as replaced functions: what can be replaced, and what it means."""

import inspect
from types import FunctionType

import pytest
from hypothesis import given

from fuzz.compare.compared import compared
from fuzz.compare.naive import compare
from fuzz.compare.traces import Trace
from fuzz.memory.automaton import Automaton
from fuzz.memory.numbers import vcpu_of
from fuzz.memory.tables import Landing, Tables
from fuzz.report.replay import automaton_of, replay
from fuzz.schedule.schedule import Schedule
from tests.strategies import schedules
from variants.catalogue import built_in, choose
from variants.machine import events, lapic, machine, run, svm, vmx
from variants.machine.machine import initial_vcpu
from variants.machine.points import POINTS
from variants.machine.step import VENDORS, Step
from variants.machine.vcpu import KVM_APIC_INIT, Irq, Req, Vcpu, VcpuState
from variants.passing import not_passed
from variants.variant import LinkError, Variant, machine_functions, replaces

ORIGINAL, YADONG, PAOLO = choose("", [])
INIT, SIPI = Step("icr", 0, 1, "init"), Step("icr", 0, 1, "sipi", 0x12)


def traces(variant: Variant, schedule: Schedule) -> list[Trace]:
    """What a variant shows, compared with nothing that differs."""
    result = replay(automaton_of(schedule.vendor, [variant]), schedule)
    return list(result.traces.values())


def wrapped(target: FunctionType) -> FunctionType:
    """A replacement of `target` that does nothing but call it."""
    module = target.__module__.rpartition(".")[2]
    parameters = inspect.signature(target).parameters.values()
    names = ", ".join(one.name for one in parameters)
    given = ", ".join(
        one.name if one.default is one.empty else f"{one.name}={one.default!r}"
        for one in parameters
    )
    text = f"""
from variants.machine import {module}

def {target.__name__}({given}):
    return {module}.{target.__name__}({names})
"""
    names_there: dict[str, object] = {"__name__": f"wrapped_{module}"}
    exec(text, names_there)
    function = names_there[target.__name__]
    assert isinstance(function, FunctionType)
    replaces(target)(function)
    return function


WRAPPERS = tuple(map(wrapped, machine_functions().values()))
EVERYTHING = Variant("everything", "each function calls the one it replaces", WRAPPERS)


def test_the_machine_has_kvms_functions() -> None:
    names = machine_functions().keys()
    assert names >= {
        *("vcpu_run", "vcpu_block", "vcpu_enter_guest", "kvm_arch_vcpu_ioctl_run"),
        *("kvm_arch_vcpu_ioctl_get_mpstate", "kvm_arch_vcpu_ioctl_set_mpstate"),
        *("kvm_vcpu_ioctl_x86_get_vcpu_events", "kvm_vcpu_ioctl_x86_set_vcpu_events"),
        *("kvm_vcpu_reset", "enter_smm", "em_rsm", "kvm_apic_accept_events", "apic_accept_irq"),
        *("nested_vmx_run", "nested_vmx_vmexit", "nested_vmx_setup_ctls_msrs"),
        *("nested_svm_vmrun", "nested_svm_vmexit", "svm_set_gif", "svm_smi_allowed"),
        *("vmx_smi_allowed", "vmx_check_nested_events", "svm_check_nested_events"),
    }


@given(schedules())
def test_every_function_can_be_replaced(schedule: Schedule) -> None:
    """A function that only calls what it replaces changes nothing, all of them at once."""
    assert traces(EVERYTHING, schedule) == traces(ORIGINAL, schedule)


@given(schedules())
def test_variants_live_side_by_side(schedule: Schedule) -> None:
    """What one variant replaces is not replaced in another, whatever is compared with what."""
    all_four = [PAOLO, EVERYTHING, YADONG, ORIGINAL]
    together = replay(automaton_of(schedule.vendor, all_four), schedule)
    for variant in (PAOLO, YADONG, ORIGINAL):
        alone = replay(automaton_of(schedule.vendor, [variant]), schedule)
        assert together.traces[variant.name] == alone.traces[variant.name]


def test_a_variant_builds_on_another() -> None:
    """Within a replacement the replaced function is that of the variant below."""

    @replaces(vmx.nested_vmx_setup_ctls_msrs)
    def nested_vmx_setup_ctls_msrs() -> int:
        return vmx.nested_vmx_setup_ctls_msrs() & ~vmx.VMX_MISC_ACTIVITY_WAIT_SIPI

    hidden = Variant("hidden", "not advertised", (nested_vmx_setup_ctls_msrs,), on=YADONG)
    schedule = Schedule("vmx", 2, (Step("rdmsr", 1, mode="ia32-vmx-misc"), Step("vmxon", 1)))
    wait = schedule._replace(steps=(Step("vmxon", 1), Step("vmlaunch", 1, mode="wait-for-sipi")))
    ((asked, _),) = traces(hidden, schedule)
    assert "rdmsr:0x0" in str(asked)
    assert traces(hidden, wait) == traces(YADONG, wait), "the rest is the other's"


def test_helpers_of_a_variant_are_linked_too() -> None:
    @replaces(svm.svm_set_gif)
    def svm_set_gif(vcpu: Vcpu, value: bool) -> None:
        helper(vcpu, value)

    variant = Variant("helped", "a helper calls the machine", (svm_set_gif,))
    steps = (Step("clgi", 1), Step("stgi", 1))
    (shown,) = traces(variant, Schedule("svm", 2, steps))
    assert [one.gif for one in shown] == [False, False]


def helper(vcpu: Vcpu, value: bool) -> None:
    """GIF is always clear."""
    vcpu.gif = value and events.kvm_event_needs_reinjection(vcpu)


@replaces(lapic.apic_accept_irq)
def apic_accept_irq(vcpu: Vcpu, irq: Irq) -> None:
    """INIT does not discard a pending SIPI."""
    if irq.mode == "init":
        vcpu.pending_events |= KVM_APIC_INIT
        vcpu.request(Req.EVENT)
    else:
        lapic.apic_accept_irq(vcpu, irq)


KEEPS = Variant("keeps", "INIT keeps SIPI", (apic_accept_irq,))


def test_what_a_message_does_can_be_replaced() -> None:
    """Also where it arrives between two steps of its target. The message is named as the cause."""
    started = Schedule("svm", 2, (SIPI, INIT, Step("nop", 1)))
    ((step, found),) = Automaton(compared("svm", [ORIGINAL, KEEPS])).compare(started)
    assert step == 2
    assert str(found.signature.cause) == "original | keeps: INIT arriving in L1"
    assert traces(KEEPS, started)[0][-1].outcome == "sipi"


@given(schedules())
def test_messages_that_differ_are_compared_as_whole_vms_are(schedule: Schedule) -> None:
    subject = compared(schedule.vendor, [ORIGINAL, KEEPS, PAOLO])
    found = Automaton(subject).compare(schedule)
    splits = [
        (step, tuple(tuple(subject.names[member] for member in part) for part in parts))
        for step, parts in compare(subject, schedule)
    ]
    assert [(step, divergence.groups) for step, divergence in found] == splits


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_migrated_vcpu_knows_its_step(vendor: str) -> None:
    @replaces(events.kvm_vcpu_latch_init)
    def kvm_vcpu_latch_init(vcpu: Vcpu) -> bool:
        assert vcpu.step.op in ("set-mp-state", "save-restore")
        return events.kvm_vcpu_latch_init(vcpu)

    variant = Variant("asks", "reads the step", (kvm_vcpu_latch_init,))
    steps = (Step("set-mp-state", 1, mode="INIT_RECEIVED"), Step("save-restore", 1))
    schedule = Schedule("svm" if vendor == "svm" else "vmx", 2, steps)
    assert traces(variant, schedule) == traces(ORIGINAL, schedule)


def test_unlinked_functions_say_so() -> None:
    vcpu = Vcpu(bsp=True)
    vcpu.nmi_pending = 1
    with pytest.raises(RuntimeError, match=r"only as variants\.link has linked it"):
        events.kvm_vcpu_has_events(vcpu)


def test_a_replacement_is_a_plain_function() -> None:
    with pytest.raises(LinkError, match="no plain function"):
        replaces(run.vcpu_block)(run.Ran)  # type: ignore[arg-type]


@replaces(lapic.apic_accept_irq)
def apic_accept_irq_warns(vcpu: Vcpu, irq: Irq) -> None:
    """What shows in a step is not what a message shows that comes after it."""
    vcpu.warn_on(irq.mode == "sipi", "apic_accept_irq")
    lapic.apic_accept_irq(vcpu, irq)


@replaces(machine.deliver)
def deliver(vcpu: VcpuState, irq: Irq) -> VcpuState:
    """SIPI is lost on the way."""
    return vcpu if irq.mode == "sipi" else machine.deliver(vcpu, irq)


WARNS = Variant("warns", "a SIPI warns", (apic_accept_irq_warns,))
LOSES = Variant("loses", "a SIPI is lost", (deliver,))


@pytest.mark.parametrize("variant", [WARNS, LOSES], ids=lambda variant: str(variant.name))
@given(schedule=schedules())
def test_a_message_that_no_point_takes_comes_after_the_step(
    variant: Variant, schedule: Schedule
) -> None:
    """The explorer relies on it, whatever is replaced."""
    tables = Tables(compared(schedule.vendor, [variant]))
    state = initial_vcpu(bsp=False)
    sipi = Irq("sipi", 0x12)
    landings = [
        Landing(point, tables.message_id(sipi), tables.arrivals_id(((point, sipi),)))
        for point in POINTS
    ]
    for step in (one._replace(on=1) for one in schedule.steps):
        asked = 0, tables.vcpu_id(state), tables.step_id(step)
        landed = [tables.result(*asked, landing.arrivals) for landing in landings]
        assert list(tables.landed(*asked, landings)) == landed
        state = tables.vcpu(vcpu_of(tables.result(*asked)))


def test_points_that_a_replacement_does_not_pass_are_told() -> None:
    @replaces(events.process_nmi)
    def copied(vcpu: Vcpu) -> None:
        vcpu.nmi_pending = min(2, vcpu.nmi_pending + vcpu.nmi_queued)

    def helper(vcpu: Vcpu) -> None:
        events.process_nmi(vcpu)

    @replaces(events.process_nmi)
    def calling(vcpu: Vcpu) -> None:
        helper(vcpu)

    lost = not_passed(Variant("copied", "", (copied,)))
    assert lost == {"process_nmi": ["process-nmi"]}
    for variant in (Variant("calling", "", (calling,)), *built_in().values()):
        assert not_passed(variant) == {}
