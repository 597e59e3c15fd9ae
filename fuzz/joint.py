"""The joint machine: several variants take the same steps until they can be told apart.

Variants start in one group. After each step a group whose members observed different things
splits, and each split is a divergence. A variant that is alone in its group is no longer
followed, so the joint state holds only what later divergences depend on.

For two variants of a group in which a vCPU has come to differ inside, the joint state remembers
the mechanism of the step that did it: what was pending, and the state it met. That is the
cause a reviewer would discuss, however many steps later that vCPU shows it.
"""

import traceback
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

from fuzz.schedule import Schedule
from variants.machine.machine import (
    Arrivals,
    Observation,
    State,
    StepVcpu,
    VcpuStep,
    initial_state,
    step,
    step_vcpu_of,
)
from variants.machine.step import TO_ALL, TO_SELF, Step, Vendor
from variants.machine.variant import Variant
from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Vcpu, VcpuState, thaw

Group = tuple[int, ...]
"""Indices into the compared variants, ascending."""

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


class JointState(NamedTuple):
    """groups: those with two members or more, in order. states: one per variant, None once it
    is alone. causes: (i, j, n, mechanism) for i < j of one group whose vCPU n differs inside."""

    groups: tuple[Group, ...]
    states: tuple[State | None, ...]
    causes: tuple[tuple[int, int, int, str], ...] = ()


class Divergence(NamedTuple):
    """A group that splits. `groups` are the parts, each a tuple of variant names."""

    kind: str
    signature: str
    groups: tuple[tuple[str, ...], ...]


class Joint(NamedTuple):
    """What is compared: a vendor and the variants, with their (memoised) vCPU steps."""

    vendor: Vendor
    names: tuple[str, ...]
    step_vcpus: tuple[StepVcpu, ...]


def joint_of(vendor: Vendor, variants: Sequence[Variant]) -> Joint:
    """Compare `variants` without memory of earlier steps."""
    names = tuple(variant.name for variant in variants)
    return Joint(vendor, names, tuple(guarded(variant, vendor) for variant in variants))


class HookError(Exception):
    """A variant's hook raised: one line that says which, where and why."""


def guarded(variant: Variant, vendor: Vendor) -> StepVcpu:
    """The vCPU step of `variant`; what its hooks raise becomes a HookError."""
    step_vcpu = step_vcpu_of(variant, vendor)

    def guard(state: VcpuState, taken: Step, arrivals: Arrivals) -> VcpuStep:
        try:
            return step_vcpu(state, taken, arrivals)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = " ".join(f"{type(error).__name__}: {error}".split())
            message = f"{where.filename}:{where.lineno}: variant {variant.name}: {what}"
            raise HookError(message) from None

    return guard


def initial_joint(joint: Joint, vcpus: int) -> JointState:
    """All variants in one group, in the machine's initial state."""
    count = len(joint.names)
    state = initial_state(vcpus)
    return JointState((tuple(range(count)),) if count > 1 else (), (state,) * count)


def joint_step(
    joint: Joint, before: JointState, taken: Step
) -> tuple[JointState, tuple[Divergence, ...]]:
    """Let every variant that is still compared take the step."""
    states: list[State | None] = [None] * len(before.states)
    observed: dict[int, Observation] = {}
    for member in (member for group in before.groups for member in group):
        state = before.states[member]
        assert state is not None
        states[member], observed[member] = step(joint.step_vcpus[member], state, taken)

    def why(i: int, j: int) -> str:
        return mechanism(joint, before.states[i], taken, i, j)

    groups: list[Group] = []
    divergences = []
    known = {(i, j, n): cause for i, j, n, cause in before.causes}
    causes = []
    for group in before.groups:
        parts = split(group, observed)
        if len(parts) > 1:
            i, j = parts[0][0], parts[1][0]
            earlier = known.get((i, j, taken.on), "")
            divergences.append(visible(joint, parts, earlier or why(i, j), not earlier, observed))
        for part in parts:
            if len(part) == 1:
                states[part[0]] = None
                continue
            groups.append(part)
            for i, j in combinations(part, 2):
                for n in unequal(states[i], states[j]):
                    acting = known.get((i, j, taken.on), "")
                    cause = known.get((i, j, n)) or acting or why(i, j)
                    causes.append((i, j, n, cause))
    return JointState(tuple(groups), tuple(states), tuple(causes)), tuple(divergences)


def split(group: Group, observed: dict[int, Observation]) -> list[Group]:
    """The members of `group` by what they observed, in order of their first member."""
    parts: dict[Observation, list[int]] = {}
    for member in group:
        parts.setdefault(observed[member], []).append(member)
    return [tuple(part) for part in parts.values()]


def unequal(one: State | None, other: State | None) -> list[int]:
    """The vCPUs that differ inside."""
    assert one is not None
    assert other is not None
    pairs = enumerate(zip(one.vcpus, other.vcpus, strict=True))
    return [number for number, (a, b) in pairs if a != b]


def latent(joint: Joint, end: JointState) -> tuple[Divergence, ...]:
    """The groups whose members showed the same throughout and differ inside at the end."""
    divergences = []
    causes = {(i, j): cause for i, j, _, cause in reversed(end.causes)}
    for group in end.groups:
        parts: dict[tuple[VcpuState, ...], list[int]] = {}
        for member in group:
            state = end.states[member]
            assert state is not None
            parts.setdefault(state.vcpus, []).append(member)
        if len(parts) > 1:
            pieces = [tuple(part) for part in parts.values()]
            cause = causes[pieces[0][0], pieces[1][0]]
            divergences.append(divergence(joint, "latent", pieces, cause, "hidden state"))
    return tuple(divergences)


def divergence(
    joint: Joint, kind: str, parts: Sequence[Group], cause: str, shows: str
) -> Divergence:
    """Name the class of a split: kind, cause (with who agrees with whom), how it shows."""
    groups = tuple(tuple(joint.names[member] for member in part) for part in parts)
    return Divergence(kind, f"{joint.vendor}: {kind}: {cause}: {shows}", groups)


def visible(
    joint: Joint, parts: list[Group], cause: str, at_once: bool, observed: dict[int, Observation]
) -> Divergence:
    """Kind and looks of a split that shows in the observations.

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
        shows = look(field, seen) if at_once else "later"
        if shows == "VM exit" and " in " not in cause:
            shows = "at once"
    if cause.endswith(": race"):
        shows = "in a race"
    return divergence(joint, kind, parts, cause, shows)


def look(field: str, seen: list[Observation]) -> str:
    """How a visible difference shows, without vectors."""
    if saved_activity_alone(seen[0], seen[1]):
        return "saved activity"
    return "VM exit" if field in ("nested_exit", "guest_mode") else "at once"


def mechanism(joint: Joint, before: State | None, taken: Step, i: int, j: int) -> str:
    """Who treats an event differently in this step, which event, and the state it met.

    before: the state of variants i and j, which the step makes differ. Every compared variant
    is asked what it would have done there, even one already told apart, so that one bug has one
    name, whoever is still in the group when it shows.
    """
    assert before is not None
    ends = [step(step_vcpu, before, taken) for step_vcpu in joint.step_vcpus]
    vcpu = thaw(before.vcpus[taken.on])
    after = [thaw(end.vcpus[taken.on]).pending_events for end, _ in ends]
    racing = {irq.mode for target, _, irq in before.armed if target == taken.on}
    racing.discard("init-deassert")
    present = racing | {mode for mode, bit in PENDING.items() if vcpu.pending_events & bit}
    if taken.op == "icr" and taken.to in (TO_SELF, TO_ALL, taken.on):
        present.add(taken.mode)
    differs = [mode for mode, bit in PENDING.items() if (after[i] ^ after[j]) & bit]
    seen = [observation for _, observation in ends]
    by_step = shown_by_step(taken, seen[i], seen[j])
    by_activity = saved_activity_alone(seen[i], seen[j])
    keys: Sequence[object] = after if differs else ends
    if by_step:
        keys = [(one.mp_state, one.nested_exit and one.nested_exit.reason) for one in seen]
        if taken.op == "rdmsr":
            keys = [one.taken for one in seen]
    elif by_activity:
        waits = "wait-for-sipi"
        keys = [one.nested_exit and one.nested_exit.activity == waits for one in seen]
    alike = [name for name, key in zip(joint.names, keys, strict=True) if key == keys[i]]
    if len(alike) == len(joint.names):
        alike.remove(joint.names[j])
    others = [name for name in joint.names if name not in alike]
    who = " | ".join(sorted(("+".join(alike), "+".join(others)), key=joint_order(joint)))
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
        return f"{who}: race"
    event = names[0].upper() if names else taken.op if taken.op in TELLING else "event"
    if names and released:
        event += f" at {taken.op}"
    return f"{who}: {event} in {context(joint.vendor, vcpu)}"


def saved_activity_alone(one: Observation, other: Observation) -> bool:
    """Are two VM exits alike but for the activity state saved for L2?"""
    a, b = one.nested_exit, other.nested_exit
    return a is not None and b is not None and a != b and a.reason == b.reason


def joint_order(joint: Joint) -> Callable[[str], int]:
    """Sides come in the order of their first variants."""
    return lambda side: joint.names.index(side.split("+")[0])


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


def compare(joint: Joint, schedule: Schedule) -> list[tuple[int, Divergence]]:
    """Every divergence of `schedule` with its step number; latent ones come at the last step."""
    state = initial_joint(joint, schedule.vcpus)
    found = []
    for number, taken in enumerate(schedule.steps):
        if not state.groups:
            break
        state, divergences = joint_step(joint, state, taken)
        found += [(number, divergence) for divergence in divergences]
    found += [(len(schedule.steps) - 1, divergence) for divergence in latent(joint, state)]
    return found
