"""Divergences and their names.

A signature is built from the vendor, the kind, the cause and the looks. The cause is who treats
an event differently, which event, and the state it met, in the step that made the variants
differ inside: what a reviewer would discuss, however many steps later it shows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from fuzz.compared import Compared, Group
from fuzz.schedule import Schedule
from variants.machine.machine import Arrivals, Observation, VcpuStep, deliver
from variants.machine.step import IOCTL_OPS, SVM_OPS, TO_SELF, VMX_OPS, Step, Vendor
from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Vcpu, VcpuState, thaw

PACE = {"blocked": 0, "busy": 1}
"""How far the guest gets: it sleeps, KVM spins; else it runs."""
ENTRIES = ("vmrun", "vmlaunch")
"""Instructions that enter L2: if variants do that differently, so is all that comes after."""
IDLE = Step("nop", 0)
RELEASES = ("vmrun", "stgi", "vmlaunch", "vmxoff", "rsm")
"""Instructions of L1 after which a held INIT may be taken."""
PENDING = {"sipi": KVM_APIC_SIPI, "init": KVM_APIC_INIT}
"""ICR modes that stay in pending_events, the one to name first where both do."""
SHOWN_BY = {
    "INIT_SIGNAL": "init",
    "VMEXIT_INIT": "init",
    "SIPI_SIGNAL": "sipi",
    "bsp-reset": "init",
    "sipi": "sipi",
}
"""VM exits and outcomes that say which event was taken, as the ICR mode that sent it."""
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

CAUSES = 1 << 16
"""How many causes to remember: naming one takes a dozen vCPU steps."""


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
    kind, shows = look(observed[parts[0][0]], observed[parts[1][0]])
    if kind == "visible" and not at_once:
        shows = "elsewhere"
    if ": race with " in cause:
        shows = "in a race"
    return divergence(compared, kind, parts, cause, shows)


def latent(compared: Compared, parts: Sequence[Group], cause: str) -> Divergence:
    """A group whose members showed the same and differ inside where a schedule ends."""
    return divergence(compared, "latent", parts, cause, "hidden state")


def telling(one: Observation, other: Observation) -> str:
    """The most telling field in which two observations differ; "" if none does."""
    return next((f for f in VISIBLE if getattr(one, f) != getattr(other, f)), "")


def look(one: Observation, other: Observation) -> tuple[str, str]:
    """Kind and looks of the difference between two observations, without vectors."""
    if one.warn != other.warn:
        return "warning", one.warn or other.warn or ""
    if PACE.get(one.outcome, 2) != PACE.get(other.outcome, 2):
        return "liveness", "one waits, another goes on"
    if saved_activity_alone(one, other):
        return "visible", "saved activity"
    by_exit = telling(one, other) in ("nested_exit", "guest_mode")
    return "visible", "VM exit" if by_exit else "elsewhere"


def saved_activity_alone(one: Observation, other: Observation) -> bool:
    """Are two VM exits alike but for the activity state saved for L2?"""
    a, b = one.nested_exit, other.nested_exit
    return a is not None and b is not None and a != b and a.reason == b.reason


@lru_cache(maxsize=CAUSES)
def own_cause(
    compared: Compared,
    i: int,
    j: int,
    before: tuple[VcpuState, VcpuState],
    step: Step,
    arrivals: tuple[Arrivals, Arrivals],
) -> str:
    """The cause of what variants i and j show in `step` if it lies in the step; else "".

    before, arrivals: those of i and of j. The cause lies in the step if from the same state,
    be it that of i or that of j, the two would differ in the same way.
    """
    if before[0] == before[1]:
        return mechanism(compared, i, j, before[0], step, arrivals[0])
    if arrivals[0] != arrivals[1]:
        return ""
    steps = compared.step_vcpus[i], compared.step_vcpus[j]
    ends = [one(state, step, arrivals[0]) for one, state in zip(steps, before, strict=True)]
    shown = contrast(ends[0].observation, ends[1].observation)
    for state in before:
        ends = [one(state, step, arrivals[0]) for one in steps]
        if contrast(ends[0].observation, ends[1].observation) == shown:
            return mechanism(compared, i, j, state, step, arrivals[0])
    return ""


def contrast(one: Sequence[object], other: Sequence[object]) -> list[object]:
    """What differs between two observations, and how."""
    return [(a, b) if a != b else None for a, b in zip(one, other, strict=True)]


@lru_cache(maxsize=CAUSES)
def mechanism(
    compared: Compared, i: int, j: int, before: VcpuState, taken: Step, arrivals: Arrivals
) -> str:
    """Who treats an event differently in this step, which event, and the state it met.

    before: the vCPU of variants i and j, which the step makes differ. Every compared variant
    is asked what it would have done there, even one already told apart, so that one bug has one
    name, whoever is still in the group when it shows. It is the step itself if that alone makes
    them show different things, and a race only if the order of step and message matters.
    """
    vcpu = thaw(before)
    ends = [step_vcpu(before, taken, arrivals) for step_vcpu in compared.step_vcpus]
    one, other = ends[i].observation, ends[j].observation
    if taken.op != "icr":
        state = calmed(vcpu, taken)
        alone = [step_vcpu(state, taken, ()) for step_vcpu in compared.step_vcpus]
        entered = taken.op in ENTRIES and one != other and one.executed and other.executed
        if (entered and alone[i].observation != alone[j].observation) or (
            difference(alone[i], alone[j]) == difference(ends[i], ends[j])
        ):
            return f"{sides(compared, alone, i, j)}: {itself(taken, vcpu)}"
    if cause := without_race(compared, i, j, before, taken, arrivals):
        return cause
    who = sides(compared, ends, i, j)
    if racing := {irq.mode for _, irq in arrivals if irq.mode in PENDING}:
        return f"{who}: race with {min(racing).upper()}"
    present = {mode for mode, bit in PENDING.items() if vcpu.pending_events & bit}
    if taken.op == "icr" and taken.to == TO_SELF and one.executed and other.executed:
        present.add(taken.mode)
    if "init" in present and taken.op in RELEASES and not vcpu.guest_mode:
        apart = [replace(thaw(ends[n].vcpu), pending_events=0) for n in (i, j)]
        if apart[0] != apart[1]:
            return f"{who}: INIT at {taken.op}"
    differ = pending_events(ends[i]) ^ pending_events(ends[j])
    events = [SHOWN_BY[word] for word in words_of(one, other) if word in SHOWN_BY]
    events += [mode for mode, bit in PENDING.items() if differ & bit]
    events += PENDING
    event = next((mode.upper() for mode in events if mode in present), "")
    if not event:
        return f"{who}: {itself(taken, vcpu)}"
    return f"{who}: {event} in {context(compared.vendor, vcpu)}"


def without_race(
    compared: Compared, i: int, j: int, before: VcpuState, taken: Step, arrivals: Arrivals
) -> str:
    """The cause if a message that lands in the step need not land there; else "".

    Variants i and j may show different things without it, or come to differ in the same way if
    it comes before the step, or after it, or is taken in a step of its own.
    """

    def run(state: VcpuState, step: Step, armed: Arrivals) -> list[VcpuStep]:
        return [compared.step_vcpus[member](state, step, armed) for member in (i, j)]

    ends = run(before, taken, arrivals)
    wanted = difference(*ends)
    shows = ends[0].observation != ends[1].observation
    for n, (_, irq) in enumerate(arrivals):
        rest = arrivals[:n] + arrivals[n + 1 :]
        calm = run(before, taken, rest)
        if difference(*calm) == wanted or (shows and calm[0].observation != calm[1].observation):
            return mechanism(compared, i, j, before, taken, rest)
        early = deliver(before, irq)
        if difference(*run(early, taken, rest)) == wanted:
            return mechanism(compared, i, j, early, taken, rest)
        one, other = [end._replace(vcpu=deliver(end.vcpu, irq)) for end in calm]
        if difference(one, other) == wanted:
            return mechanism(compared, i, j, before, taken, rest)
        if one == other and difference(*run(one.vcpu, IDLE, ())) == wanted:
            return mechanism(compared, i, j, one.vcpu, IDLE, ())
    return ""


def calmed(vcpu: Vcpu, taken: Step) -> VcpuState:
    """`vcpu` with neither INIT nor SIPI pending, and running if `taken` is an instruction."""
    mp_state = vcpu.mp_state if taken.op in IOCTL_OPS else Mp.RUNNABLE
    return replace(vcpu, pending_events=0, mp_state=mp_state).freeze()


def itself(taken: Step, vcpu: Vcpu) -> str:
    """The name of a step that variants answer differently, whatever is pending."""
    if taken.op in VMX_OPS or taken.op in SVM_OPS:
        return f"{taken.op} {taken.mode}".strip()
    return f"{taken.op} in {place(vcpu)}"


def sides(compared: Compared, ends: Sequence[VcpuStep], i: int, j: int) -> str:
    """Who would do as variant i, and who as j, in what shows or else in what stays pending.

    A variant that would do neither is on no side.
    """
    field = telling(ends[i].observation, ends[j].observation)
    if ends[i].observation.warn != ends[j].observation.warn:
        keys: Sequence[object] = [end.observation.warn for end in ends]
    elif field:
        keys = [getattr(end.observation, field) for end in ends]
    elif differ := pending_events(ends[i]) ^ pending_events(ends[j]):
        keys = [pending_events(end) & differ for end in ends]
    else:
        keys = [end.vcpu for end in ends]
    names = [
        "+".join(n for n, k in zip(compared.names, keys, strict=True) if k == key)
        for key in (keys[i], keys[j])
    ]
    return " | ".join(sorted(names, key=order_of(compared)))


def words_of(one: Observation, other: Observation) -> Iterator[str]:
    """The VM exits, then the outcomes, in which two observations differ."""
    exits = [seen.nested_exit.reason if seen.nested_exit else "" for seen in (one, other)]
    if exits[0] != exits[1]:
        yield from exits
    if one.outcome != other.outcome:
        yield from (one.outcome, other.outcome)


def difference(one: VcpuStep, other: VcpuStep) -> object:
    """How two ends of a step differ: in what shows, or what stays pending, or which fields."""
    if one.observation != other.observation:
        return look(one.observation, other.observation)
    pending = (pending_events(one), pending_events(other))
    if pending[0] != pending[1]:
        return pending
    return [a != b for a, b in zip(one.vcpu, other.vcpu, strict=True)]


def pending_events(end: VcpuStep) -> int:
    """INIT and SIPI that a step leaves pending."""
    return thaw(end.vcpu).pending_events


def order_of(compared: Compared) -> Callable[[str], int]:
    """Sides come in the order of their first variants."""
    return lambda side: compared.names.index(side.split("+")[0])


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
