"""The words of a cause: which event a vCPU met, and where it stood."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from variants.machine.machine import VcpuStep
from variants.machine.observation import Observation
from variants.machine.step import SVM_OPS, TO_SELF, VMX_OPS, Step, Vendor
from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Req, Vcpu, thaw

ENTRIES: Final = ("vmrun", "vmlaunch")
"""Instructions that enter L2: if variants do that differently, so is all that comes after."""
RELEASES: Final = (*ENTRIES, "stgi", "vmxoff", "rsm")
"""Instructions of L1 after which a held INIT may be taken."""
PENDING: Final = {"sipi": KVM_APIC_SIPI, "init": KVM_APIC_INIT}
"""ICR modes that stay in pending_events, the one to name first where both do."""
SHOWN_BY: Final = {
    "INIT_SIGNAL": "INIT",
    "VMEXIT_INIT": "INIT",
    "bsp-reset": "INIT",
    "SIPI_SIGNAL": "SIPI",
    "sipi": "SIPI",
    "EXCEPTION_NMI": "NMI",
    "VMEXIT_NMI": "NMI",
    "VMEXIT_SMI": "SMI",
    "smm": "SMI",
    "EXTERNAL_INTERRUPT": "interrupt",
    "VMEXIT_INTR": "interrupt",
}
"""VM exits and outcomes that say which event was taken."""
EVENTS: Final = {"sipi": "SIPI", "init": "INIT", "smi": "SMI", "nmi": "NMI", "fixed": "interrupt"}
"""Events by the ICR mode that sends them, in the order to name them in."""


def event_of(vcpu: Vcpu, step: Step, one: VcpuStep, other: VcpuStep) -> str:
    """The event that `vcpu` met in a step with these ends; "" if there is none.

    It is what an exit or outcome names; else what only one variant leaves pending.
    """
    present = set(pending_in(vcpu))
    executed = one.observation.executed and other.observation.executed
    if step.op == "icr" and step.to == TO_SELF and executed:
        present.add(EVENTS.get(step.mode, ""))
    released = one.observation.executed or other.observation.executed
    if "INIT" in present and step.op in RELEASES and released and not vcpu.guest_mode:
        apart = [replace(thaw(end.vcpu), pending_events=0) for end in (one, other)]
        if apart[0] != apart[1]:
            return "INIT"
    events = list(named_by(one.observation, other.observation))
    differ = left_pending(one) ^ left_pending(other)
    events += [EVENTS[mode] for mode, bit in PENDING.items() if differ & bit]
    events += EVENTS.values()
    return next((event for event in events if event in present), "")


def pending_in(vcpu: Vcpu) -> Iterator[str]:
    """The events that are pending on `vcpu`."""
    for mode, bit in PENDING.items():
        if vcpu.pending_events & bit:
            yield EVENTS[mode]
    if vcpu.smi_pending or vcpu.requests & Req.SMI:
        yield EVENTS["smi"]
    if vcpu.nmi_pending or vcpu.nmi_queued:
        yield EVENTS["nmi"]
    if vcpu.irr:
        yield EVENTS["fixed"]


def named_by(one: Observation, other: Observation) -> Iterator[str]:
    """The events that differing VM exits, then differing outcomes, name."""
    exits = [seen.nested_exit.reason if seen.nested_exit else "" for seen in (one, other)]
    activities = [seen.nested_exit.activity if seen.nested_exit else "" for seen in (one, other)]
    if exits[0] != exits[1] or activities[0] != activities[1]:
        yield from (SHOWN_BY[word] for word in exits if word in SHOWN_BY)
    if one.outcome != other.outcome:
        yield from (SHOWN_BY[w] for w in (one.outcome, other.outcome) if w in SHOWN_BY)


def left_pending(end: VcpuStep) -> int:
    """INIT and SIPI that a step leaves pending."""
    return thaw(end.vcpu).pending_events


def itself(step: Step, vendor: Vendor, vcpu: Vcpu, executed: bool) -> str:
    """The name of a step that variants answer differently, whatever is pending.

    executed: some variant did. Else all that is left of it is that the vCPU ran.
    """
    if not executed:
        return f"KVM_RUN in {context(vendor, vcpu)}"
    if step.op in VMX_OPS or step.op in SVM_OPS:
        return f"{step.op} {step.mode}".strip()
    return f"{step.op} in {context(vendor, vcpu)}"


def place(vcpu: Vcpu) -> str:
    """Where the vCPU runs."""
    if vcpu.smm:
        return "SMM"
    return "L2" if vcpu.guest_mode else "VMX root" if vcpu.vmxon else "L1"


def waits_in_l2(vcpu: Vcpu) -> bool:
    """Is the vCPU in wait-for-SIPI in L2? On SVM that is not a state a guest can be in."""
    return vcpu.mp_state == Mp.INIT_RECEIVED and vcpu.guest_mode and vcpu.vmxon


def context(vendor: Vendor, vcpu: Vcpu) -> str:
    """Where the vCPU stands, as far as INIT and SIPI care."""
    where = place(vcpu)
    if waits_in_l2(vcpu):
        where += " WFS"
    if vendor == "svm" and not vcpu.gif:
        where += " GIF=0"
    if vendor == "svm" and vcpu.guest_mode and "init" in vcpu.controls:
        where += " INIT-intercepted"
    return where
