"""Divergences and their names.

A signature is built from the vendor, the kind, the cause and the looks. The cause is who treats
an event differently, which event, and the state it met, in the step that made the variants
differ inside: what a reviewer would discuss, however many steps later it shows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fuzz.compared import Compared, Group
from fuzz.schedule import Schedule
from variants.machine.machine import Arrivals, Observation, VcpuStep, deliver
from variants.machine.step import TO_SELF, Step, Vendor
from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Vcpu, VcpuState, thaw

PACE = {"blocked": 0, "busy": 1}
"""How far the guest gets: it sleeps, KVM spins; else it runs."""
RELEASES = ("vmrun", "stgi", "vmlaunch", "vmxoff", "rsm")
"""Instructions after which a held INIT may be taken."""
PENDING = {"sipi": KVM_APIC_SIPI, "init": KVM_APIC_INIT}
"""ICR modes that stay in pending_events, the one to name first where both do."""
TELLING = ("save-restore", "get-mp-state", "get-vcpu-events", "vmlaunch", "vmrun")
"""Steps that name a mechanism where neither INIT nor SIPI is pending."""
VISIBLE = (
    "nested_exit",
    "outcome",
    "vector",
    "mp_state",
    "latched_init",
    "taken",
    "guest_mode",
    "vmxon",
    "gif",
    "smm",
    "executed",
    "woke",
)
"""The fields of an observation, most telling first."""


class Divergence(NamedTuple):
    """A group that splits. `groups` are the parts, each a tuple of variant names."""

    kind: str
    signature: str
    groups: tuple[tuple[str, ...], ...]


def cause_of(divergence: Divergence) -> str:
    """The cause in a signature, sides included."""
    return divergence.signature.split(": ", 2)[2].rsplit(": ", 1)[0]


class Finding(NamedTuple):
    """A divergence class with the smallest schedule known to show it."""

    divergence: Divergence
    schedule: Schedule


def divergence(
    compared: Compared, kind: str, parts: Sequence[Group], cause: str, shows: str
) -> Divergence:
    """Name the class of a split: kind, cause (with who agrees with whom), how it shows."""
    groups = tuple(tuple(compared.names[member] for member in part) for part in parts)
    return Divergence(kind, f"{compared.vendor}: {kind}: {cause}: {shows}", groups)


def visible(
    compared: Compared,
    parts: Sequence[Group],
    cause: str,
    at_once: bool,
    observed: Mapping[int, Observation],
) -> Divergence:
    """A split that shows in the observations. at_once: in the step that caused it.

    What a difference leads to many steps later, or in a race, is of endless variety and says
    little: only what shows in the step that caused it is told apart further.
    """
    # Of a split in three the first two parts name the class, as they do its cause.
    seen = [observed[part[0]] for part in parts[:2]]
    pace = [PACE.get(one.outcome, 2) for one in seen]
    if len({one.warn for one in seen}) > 1:
        kind = "warning"
        shows = next(one.warn for one in seen if one.warn) or ""
    elif len(set(pace)) > 1:
        kind = "liveness"
        shows = "one waits, another goes on"
    else:
        kind = "visible"
        field = next(f for f in VISIBLE if len({getattr(one, f) for one in seen}) > 1)
        shows = look(field, seen) if at_once else "elsewhere"
        if shows == "VM exit" and " in " not in cause:
            shows = "elsewhere"
    if ": race with " in cause:
        shows = "in a race"
    return divergence(compared, kind, parts, cause, shows)


def latent(compared: Compared, parts: Sequence[Group], cause: str) -> Divergence:
    """A group whose members showed the same and differ inside where a schedule ends."""
    return divergence(compared, "latent", parts, cause, "hidden state")


def look(field: str, seen: Sequence[Observation]) -> str:
    """How a visible difference shows, without vectors."""
    if saved_activity_alone(seen[0], seen[1]):
        return "saved activity"
    return "VM exit" if field in ("nested_exit", "guest_mode") else "elsewhere"


def mechanism(
    compared: Compared, before: VcpuState, taken: Step, arrivals: Arrivals, i: int, j: int
) -> str:
    """Who treats an event differently in this step, which event, and the state it met.

    before: the vCPU of variants i and j, which the step makes differ. Every compared variant
    is asked what it would have done there, even one already told apart, so that one bug has one
    name, whoever is still in the group when it shows. A race is one only if the message, had it
    come before or after the step, would not have made the same differ.
    """
    ends = [step_vcpu(before, taken, arrivals) for step_vcpu in compared.step_vcpus]
    for n, (_, irq) in enumerate(arrivals):
        rest = arrivals[:n] + arrivals[n + 1 :]
        for earlier, late in ((deliver(before, irq), False), (before, True)):
            calm = [compared.step_vcpus[member](earlier, taken, rest) for member in (i, j)]
            if late:
                calm = [end._replace(vcpu=deliver(end.vcpu, irq)) for end in calm]
            if contrast(*calm) == contrast(ends[i], ends[j]):
                return mechanism(compared, earlier, taken, rest, i, j)
    vcpu = thaw(before)
    after = [pending_events(end) for end in ends]
    racing = {irq.mode for _, irq in arrivals if irq.mode in PENDING}
    present = racing | {mode for mode, bit in PENDING.items() if vcpu.pending_events & bit}
    if taken.op == "icr" and taken.to == TO_SELF:
        present.add(taken.mode)
    differs = [mode for mode, bit in PENDING.items() if (after[i] ^ after[j]) & bit]
    seen = [end.observation for end in ends]
    by_step = shown_by_step(taken, seen[i], seen[j])
    by_activity = saved_activity_alone(seen[i], seen[j])
    keys: Sequence[object] = after if differs else [(end.vcpu, end.observation) for end in ends]
    if by_step:
        keys = [(one.mp_state, one.nested_exit and one.nested_exit.reason) for one in seen]
        if taken.op == "rdmsr":
            keys = [one.taken for one in seen]
    elif by_activity:
        waits = "wait-for-sipi"
        keys = [one.nested_exit and one.nested_exit.activity == waits for one in seen]
    alike = [name for name, key in zip(compared.names, keys, strict=True) if key == keys[i]]
    if len(alike) == len(compared.names):
        alike.remove(compared.names[j])
    others = [name for name in compared.names if name not in alike]
    who = " | ".join(sorted(("+".join(alike), "+".join(others)), key=order_of(compared)))
    held = not vcpu.guest_mode and (not vcpu.gif or vcpu.vmxon or vcpu.smm)
    released = held and taken.op in RELEASES
    names = [mode for mode in (*differs, *PENDING) if mode in present]
    if released and "init" in present:
        names = ["init"]
    if by_activity:
        return f"{who}: exit in L2 WFS"
    if by_step:
        return f"{who}: {taken.op} {taken.mode}"
    if racing:
        return f"{who}: race with {min(racing).upper()}"
    event = names[0].upper() if names else taken.op if taken.op in TELLING else "event"
    if names and released:
        event += f" at {taken.op}"
    return f"{who}: {event} in {context(compared.vendor, vcpu)}"


def contrast(one: VcpuStep, other: VcpuStep) -> object:
    """How two ends of a step differ: in what stays pending, or else in which fields."""
    pending = (pending_events(one), pending_events(other))
    if pending[0] != pending[1]:
        return pending
    return (
        [a != b for a, b in zip(one.vcpu, other.vcpu, strict=True)],
        [a != b for a, b in zip(one.observation, other.observation, strict=True)],
    )


def pending_events(end: VcpuStep) -> int:
    """INIT and SIPI that a step leaves pending."""
    return thaw(end.vcpu).pending_events


def saved_activity_alone(one: Observation, other: Observation) -> bool:
    """Are two VM exits alike but for the activity state saved for L2?"""
    a, b = one.nested_exit, other.nested_exit
    return a is not None and b is not None and a != b and a.reason == b.reason


def order_of(compared: Compared) -> Callable[[str], int]:
    """Sides come in the order of their first variants."""
    return lambda side: compared.names.index(side.split("+")[0])


def shown_by_step(taken: Step, one: Observation, other: Observation) -> bool:
    """Is the step itself what variants answer differently, whatever is pending?"""
    if taken.op == "rdmsr":
        return one.taken != other.taken and one == other._replace(taken=one.taken)
    if taken.op == "set-mp-state":
        return one.mp_state != other.mp_state
    executed = one.executed and other.executed and one.warn == other.warn
    return taken.mode == "wait-for-sipi" and executed and one != other


def place(vcpu: Vcpu) -> str:
    """Where the vCPU runs."""
    if vcpu.smm:
        return "SMM"
    return "L2" if vcpu.guest_mode else "VMX root" if vcpu.vmxon else "L1"


def context(vendor: Vendor, vcpu: Vcpu) -> str:
    """Where the vCPU stands, as far as INIT and SIPI care."""
    where = place(vcpu)
    if vcpu.mp_state == Mp.INIT_RECEIVED and vcpu.guest_mode and vendor == "vmx":
        where += " WFS"
    if vendor == "svm" and not vcpu.gif:
        where += " GIF=0"
    if vendor == "svm" and vcpu.guest_mode and "init" in vcpu.controls:
        where += " INIT-intercepted"
    return where
