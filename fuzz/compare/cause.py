"""Why variants differ: what a reviewer would discuss.

A cause is who treats an event differently, which event, and the state it met, in the step that made
the variants differ, however many steps later it shows. It is found by asking what would have been:
from the same state, without the message that raced, with nothing pending.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from fuzz.compare.compared import Compared, HookError
from fuzz.compare.signature import ELSEWHERE, Cause, look, telling
from variants.machine.machine import Arrivals, Observation, VcpuStep, deliver
from variants.machine.step import IOCTL_OPS, SVM_OPS, TO_SELF, VMX_OPS, Step, Vendor
from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Req, Vcpu, VcpuState, thaw

IDLE: Final = Step("nop", 0)
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
REMEMBERED: Final = 1 << 16
"""How many causes to remember: naming one takes a dozen vCPU steps."""


@lru_cache(maxsize=REMEMBERED)
def own_cause(
    compared: Compared,
    i: int,
    j: int,
    before: tuple[VcpuState, VcpuState],
    step: Step,
    arrivals: tuple[Arrivals, Arrivals],
) -> Cause | None:
    """The cause of what variants i and j show in `step` if it lies in the step.

    before, arrivals: those of i and of j. The cause lies in the step if from the state of i, the
    one nearer to the base, j would have shown the same kind of difference. A WARN is about the
    state it fires in: there it is if from the state of the one that warns the other would not.
    """
    if before[0] == before[1]:
        return mechanism(compared, i, j, before[0], step, arrivals[0])
    steps = compared.step_vcpus[i], compared.step_vcpus[j]
    showed = [
        take(state, step, armed).observation
        for take, state, armed in zip(steps, before, arrivals, strict=True)
    ]
    told = look(*showed)
    side = 1 if told[0] == "warning" and showed[1].warn else 0
    state, armed = before[side], arrivals[side]
    try:
        one, other = [take(state, step, armed).observation for take in steps]
    except HookError:
        return None
    if one != other and look(one, other) == told:
        return mechanism(compared, i, j, state, step, armed)
    return None


@lru_cache(maxsize=REMEMBERED)
def mechanism(
    compared: Compared, i: int, j: int, before: VcpuState, taken: Step, arrivals: Arrivals
) -> Cause:
    """`asked`; a variant may not be made for the states it is asked about."""
    try:
        return asked(compared, i, j, before, taken, arrivals)
    except HookError:
        what = itself(taken, compared.vendor, thaw(before))
        return Cause(f"{compared.names[i]} | {compared.names[j]}: {what}", ELSEWHERE)


def asked(
    compared: Compared, i: int, j: int, before: VcpuState, taken: Step, arrivals: Arrivals
) -> Cause:
    """Why `taken` makes variants i and j differ, whose vCPUs were alike.

    Every compared variant is asked what it would have done there, even one already told apart,
    so that one bug has one name, whoever is still in the group when it shows. The cause is the
    step itself if that alone makes them show different things, and a race only if the order of
    step and message matters.
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
            return cause(compared, vcpu, alone, i, j, itself(taken, compared.vendor, vcpu))
    if calm := without_race(compared, i, j, before, taken, arrivals):
        return calm
    if racing := {irq.mode for _, irq in arrivals if irq.mode in PENDING}:
        return cause(compared, vcpu, ends, i, j, f"race with {min(racing).upper()}")
    event = event_of(vcpu, taken, ends[i], ends[j])
    if not event:
        what = itself(taken, compared.vendor, vcpu)
    elif event != "SIPI" and taken.op in RELEASES and not vcpu.guest_mode:
        what = f"{event} at {taken.op}"
    else:
        what = f"{event} in {context(compared.vendor, vcpu)}"
    return cause(compared, vcpu, ends, i, j, what)


def without_race(
    compared: Compared, i: int, j: int, before: VcpuState, taken: Step, arrivals: Arrivals
) -> Cause | None:
    """The cause if a message that lands in the step need not land there.

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
    return None


def cause(
    compared: Compared, vcpu: Vcpu, ends: Sequence[VcpuStep], i: int, j: int, what: str
) -> Cause:
    """The cause `what`, with the sides it makes and how it shows, if these are the ends it has."""
    one, other = ends[i].observation, ends[j].observation
    kind, shows = look(one, other)
    return Cause(
        f"{sides(compared, vcpu, ends, i, j)}: {what}",
        shows if kind == "visible" and one != other else ELSEWHERE,
    )


def sides(compared: Compared, vcpu: Vcpu, ends: Sequence[VcpuStep], i: int, j: int) -> str:
    """Who would do as variant i, and who as j, in what shows or else in what stays pending.

    A variant that would do neither is on no side, nor is one that has no wait-for-SIPI in L2 where
    `vcpu` is in that state.
    """
    one, other = ends[i].observation, ends[j].observation
    field = "warn" if one.warn != other.warn else telling(one, other)
    if field:
        keys: Sequence[object] = [getattr(end.observation, field) for end in ends]
    elif differ := pending_events(ends[i]) ^ pending_events(ends[j]):
        keys = [pending_events(end) & differ for end in ends]
    else:
        keys = [end.vcpu for end in ends]
    asked = [n for n, waits in enumerate(compared.l2_waits) if waits or not waits_in_l2(vcpu)]
    members = [[n for n in asked if keys[n] == keys[member]] for member in (i, j)]
    return " | ".join("+".join(compared.names[n] for n in side) for side in sorted(members))


def event_of(vcpu: Vcpu, taken: Step, one: VcpuStep, other: VcpuStep) -> str:
    """The event that `vcpu` met in a step with these ends; "" if there is none.

    It is what an exit or outcome names; else what only one variant leaves pending.
    """
    present = set(pending_in(vcpu))
    executed = one.observation.executed and other.observation.executed
    if taken.op == "icr" and taken.to == TO_SELF and executed:
        present.add(EVENTS.get(taken.mode, ""))
    if "INIT" in present and taken.op in RELEASES and not vcpu.guest_mode:
        apart = [replace(thaw(end.vcpu), pending_events=0) for end in (one, other)]
        if apart[0] != apart[1]:
            return "INIT"
    events = list(named_by(one.observation, other.observation))
    differ = pending_events(one) ^ pending_events(other)
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
    if exits != exits[::-1] or activities != activities[::-1]:
        yield from (SHOWN_BY[word] for word in exits if word in SHOWN_BY)
    if one.outcome != other.outcome:
        yield from (SHOWN_BY[w] for w in (one.outcome, other.outcome) if w in SHOWN_BY)


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


def calmed(vcpu: Vcpu, taken: Step) -> VcpuState:
    """`vcpu` with nothing pending, and running if `taken` is an instruction."""
    return replace(
        vcpu,
        pending_events=0,
        requests=0,
        irr=(),
        smi_pending=False,
        nmi_pending=0,
        nmi_queued=0,
        mp_state=vcpu.mp_state if taken.op in IOCTL_OPS else Mp.RUNNABLE,
    ).freeze()


def itself(taken: Step, vendor: Vendor, vcpu: Vcpu) -> str:
    """The name of a step that variants answer differently, whatever is pending."""
    if taken.op in VMX_OPS or taken.op in SVM_OPS:
        return f"{taken.op} {taken.mode}".strip()
    return f"{taken.op} in {context(vendor, vcpu)}"


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
