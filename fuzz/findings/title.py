"""What a finding is called: an event, what becomes of it, and the state that it met."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fuzz.compare.signature import Finding as Form
from fuzz.compare.wording import (
    ENTRIES,
    EVENTS,
    PENDING,
    SHOWN_BY,
    pending_in,
    place,
    waits_in_l2,
)
from fuzz.findings.calls import Seen
from fuzz.findings.origin import Origin, end_of
from variants.machine.observation import Observation
from variants.machine.step import IOCTL_OPS, Step, Vendor
from variants.machine.vcpu import RESET_VECTOR, Req, Vcpu, thaw

PLACES: Final = {"VMX root": "VMX root operation"}
MOST: Final = 3
"""Events that a title names."""
PREDICATE: Final = re.compile(r"(init|smi|nmi|interrupt)(?:_signal)?_(blocked|allowed)$")
"""Functions that say whether an event is held, by their names."""


class Fate(NamedTuple):
    """events: what met the code. verb: what becomes of it there, as in `SIPI kept`; where nothing
    can be said of an event, `events` is empty and `verb` a clause."""

    events: tuple[str, ...]
    verb: str


class Met(NamedTuple):
    """Where a vCPU stood: `L2`, and `while L1 intercepts INIT`, .."""

    vendor: Vendor
    place: str
    more: tuple[str, ...]


def title(forms: Sequence[tuple[Form, Origin]]) -> str:
    """The title of a finding with these forms, of which the first is the plainest."""
    fates = [fate(form, origin) for form, origin in forms]
    first = fates[0]
    events = unique(event for one in fates if one.verb == first.verb for event in one.events)
    named = listed(events) if len(events) <= MOST else f"{events[0]} and other events"
    what = " ".join(filter(None, [named, first.verb]))
    where = [one for form, origin in forms if (one := met(form, origin))]
    words = [what, *whereabouts(where), *lands(forms[0][1]), *by_ioctl(forms)]
    return " ".join(words).rstrip(",")


def fate(form: Form, origin: Origin) -> Fate:
    """What the deviating code makes of an event that the other code makes something else of."""
    reference, deviant = origin.reference, origin.deviant
    if reference is None or deviant is None:
        return shown(form, origin)
    before, other, own = [vcpu_in(one) for one in (deviant.given, reference.gave, deviant.gave)]
    if before and other and own and (found := of_event(before, other, own)):
        return found
    name = PREDICATE.search(deviant.name)
    if name and bool(deviant.gave[0]) != bool(reference.gave[0]):
        says = "" if deviant.gave[0] else "not "
        return Fate((EVENTS.get(name[1], name[1].upper()),), says + name[2])
    return shown(form, origin)


def of_event(before: Vcpu, other: Vcpu, own: Vcpu) -> Fate | None:
    """What becomes of an event in a call. other, own: the vCPU after the other code, and this."""
    if own.nested_exit != other.nested_exit:
        if own.nested_exit and own.nested_exit.reason in SHOWN_BY:
            return Fate((SHOWN_BY[own.nested_exit.reason],), "taken as a VM exit")
        differ = own.pending_events ^ other.pending_events
        if not differ and other.nested_exit and other.nested_exit.reason in SHOWN_BY:
            return Fate((SHOWN_BY[other.nested_exit.reason],), "not taken as a VM exit")
    for mode, bit in PENDING.items():
        kept = own.pending_events & bit
        was, is_now = [
            started_by(mode, one) and not started_by(mode, before) for one in (other, own)
        ]
        if was != is_now:
            return Fate((EVENTS[mode],), "taken" if is_now else "kept" if kept else "dropped")
    for mode, bit in PENDING.items():
        kept = own.pending_events & bit
        if kept != other.pending_events & bit:
            return Fate((EVENTS[mode],), "kept" if kept else "dropped")
    if own.mp_state != other.mp_state:
        return Fate((), f"mp_state {own.mp_state.name}, not {other.mp_state.name},")
    if (own.requests ^ other.requests) & Req.EVENT:
        raised = "raised" if own.requests & Req.EVENT else "not raised"
        pending = listed(list(pending_in(before)))
        return Fate((), f"KVM_REQ_EVENT {raised}{pending and f' with {pending} pending'}")
    return None


def started_by(mode: str, vcpu: Vcpu) -> bool:
    """Does the vCPU stand where an INIT, or a SIPI, has just put it?"""
    return vcpu.boot == RESET_VECTOR if mode == "init" else 0 <= vcpu.boot < RESET_VECTOR


def shown(form: Form, origin: Origin) -> Fate:
    """What the step shows in which the variants part."""
    step = form.schedule.steps[-1]
    words = " ".join(filter(None, [step.op, step.mode]))
    ends = [end_of(variant, form.schedule) for variant in origin.pair]
    if None in ends:
        return Fate((), f"{words} otherwise")
    one, other = [end.observation for end in ends if end]
    if origin.pair.one.name in origin.deviating:
        one, other = other, one
    return Fate((), said(step, words, one, other))


def said(step: Step, words: str, reference: Observation, own: Observation) -> str:
    """The difference between two observations of a step as a clause."""
    exits = [one.nested_exit for one in (reference, own)]
    failed = [bool(one and "INVALID" in one.reason) for one in exits]
    refused = [one.mp_state == "EINVAL" or one.outcome == "error" for one in (reference, own)]
    if step.op in ENTRIES and failed[0] != failed[1]:
        return f"{words} {'refused' if failed[1] else 'accepted'}"
    if step.op in IOCTL_OPS and refused[0] != refused[1]:
        return f"{words} {'fails' if refused[1] else 'succeeds'}"
    if exits[0] and exits[1] and exits[0].reason == exits[1].reason:
        return f"VM exit saves activity {exits[1].activity}, not {exits[0].activity},"
    if step.op == "rdmsr" and reference.taken != own.taken:
        return f"{words} reads {value_of(own)}, not {value_of(reference)}"
    for field in Observation._fields:
        before, after = getattr(reference, field), getattr(own, field)
        if before != after:
            shows = "ends" if field == "outcome" else f"shows {field}"
            return f"{words} {shows} {in_words(after)}, not {in_words(before)},"
    return f"{words} leaves other state behind"


def value_of(read: Observation) -> str:
    """What RDMSR gave."""
    return "".join(read.taken).rpartition(":")[2]


def in_words(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "nothing"
    return str(value)


def met(form: Form, origin: Origin) -> Met | None:
    """The state of the vCPU in the call that first differs; None if the call has none."""
    vcpu = vcpu_in(origin.deviant.given) if origin.deviant else None
    if vcpu is None:
        return None
    vendor, more = form.schedule.vendor, []
    if waits_in_l2(vcpu):
        more.append("in wait-for-SIPI")
    if vcpu.nested_run_pending:
        more.append("before its first instruction")
    if vendor == "svm" and not vcpu.gif:
        more.append("with GIF=0")
    if vendor == "svm" and vcpu.guest_mode and "init" in vcpu.controls:
        more.append("while L1 intercepts INIT")
    where = place(vcpu)
    return Met(vendor, PLACES.get(where, where), tuple(more))


def whereabouts(some: Sequence[Met]) -> list[str]:
    """`in L1 and L2`, and what is so wherever it was; on one vendor, if only there."""
    if not some:
        return []
    words = [f"in {listed(unique(one.place for one in some))}"]
    vendors = unique(one.vendor for one in some)
    shared = {
        v: frozenset.intersection(*(frozenset(m.more) for m in some if m.vendor == v))
        for v in vendors
    }
    for more in unique(word for one in some for word in one.more):
        on = [vendor for vendor in vendors if more in shared[vendor]]
        if on:
            words.append(more if len(on) == len(vendors) else f"({on[0].upper()}: {more})")
    return words


def lands(origin: Origin) -> list[str]:
    """That it is a race."""
    return [f"when landing inside {origin.deviant.name}"] if origin.raced and origin.deviant else []


def by_ioctl(forms: Sequence[tuple[Form, Origin]]) -> list[str]:
    """Which ioctls do it, if nothing else does."""
    at = [form.schedule.steps[one.deviant.step] for form, one in forms if one.deviant]
    ops = unique(step.op for step in at)
    return [f"by {listed(ops)}"] if ops and all(op in IOCTL_OPS for op in ops) else []


def vcpu_in(values: Iterable[object]) -> Vcpu | None:
    """The first vCPU among what a call is given or gives."""
    return next((thaw(one.vcpu) for one in values if isinstance(one, Seen)), None)


def unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def listed(words: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""
