"""What becomes of an event in the call that first differs, as far as it can be said."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from fuzz.compare.signature import Form
from fuzz.compare.wording import ENTRIES, EVENTS, PENDING, SHOWN_BY, pending_in
from fuzz.findings.calls import Seen
from fuzz.findings.origin import Origin
from variants.machine.observation import Observation
from variants.machine.step import IOCTL_OPS, Step
from variants.machine.vcpu import RESET_VECTOR, Req, Vcpu, thaw

PREDICATE: Final = re.compile(r"(init|smi|nmi|interrupt)(?:_signal)?_(blocked|allowed)$")
"""Functions that say whether an event is held, by their names."""


class Fate(NamedTuple):
    """events: what met the code. verb: what becomes of it there, as in `SIPI kept`; where nothing
    can be said of an event, `events` is empty and `verb` a clause."""

    events: tuple[str, ...]
    verb: str


def fate(form: Form, origin: Origin) -> Fate:
    """What the deviating code makes of an event that the other code makes something else of; where
    no event has a part in it, how else it differs."""
    step = form.schedule.steps[-1]
    reference, deviant = origin.reference, origin.deviant
    if reference is None or deviant is None:
        return refusal(step, *origin.shown) or unlike(step, *origin.shown)
    before, other, own = [vcpu_in(one) for one in (deviant.given, reference.gave, deviant.gave)]
    says, said = deviant.gave[0], reference.gave[0]
    if before and other and own:
        found = of_event(before, other, own) or predicate(deviant.name, says, said)
        found = found or refusal(step, *origin.shown) or of_state(before, other, own)
        if found:
            return found
        if isinstance(says, bool) and says != said:
            return Fate((), f"{deviant.name} says {says}{with_pending(before)}")
    return refusal(step, *origin.shown) or unlike(step, *origin.shown)


def of_event(before: Vcpu, other: Vcpu, own: Vcpu) -> Fate | None:
    """What becomes of an event. other, own: the vCPU after the other code, and after this."""
    if own.nested_exit != other.nested_exit:
        if own.nested_exit and own.nested_exit.reason in SHOWN_BY:
            return Fate((SHOWN_BY[own.nested_exit.reason],), "taken as a VM exit")
        differ = own.pending_events ^ other.pending_events
        if not differ and other.nested_exit and other.nested_exit.reason in SHOWN_BY:
            return Fate((SHOWN_BY[other.nested_exit.reason],), "not taken as a VM exit")
    for mode, bit in PENDING.items():
        kept = "kept" if own.pending_events & bit else "dropped"
        was, is_now = [
            started_by(mode, one) and not started_by(mode, before) for one in (other, own)
        ]
        if was != is_now:
            return Fate((EVENTS[mode],), "taken" if is_now else kept)
    for mode, bit in PENDING.items():
        if (own.pending_events ^ other.pending_events) & bit:
            return Fate((EVENTS[mode],), "kept" if own.pending_events & bit else "dropped")
    return None


def started_by(mode: str, vcpu: Vcpu) -> bool:
    """Does the vCPU stand where an INIT, or a SIPI, has just put it?"""
    return vcpu.boot == RESET_VECTOR if mode == "init" else 0 <= vcpu.boot < RESET_VECTOR


def predicate(name: str, says: object, said: object) -> Fate | None:
    """The answer of a function that says whether an event is held."""
    match = PREDICATE.search(name)
    if match is None or bool(says) == bool(said):
        return None
    return Fate((EVENTS.get(match[1], match[1]),), match[2] if says else f"not {match[2]}")


def of_state(before: Vcpu, other: Vcpu, own: Vcpu) -> Fate | None:
    """What else of the vCPU differs that has a name of its own."""
    if own.mp_state != other.mp_state:
        return Fate((), f"mp_state {own.mp_state.name}, not {other.mp_state.name},")
    if (own.requests ^ other.requests) & Req.EVENT:
        raised = "raised" if own.requests & Req.EVENT else "not raised"
        return Fate((), f"KVM_REQ_EVENT {raised}{with_pending(before)}")
    return None


def with_pending(vcpu: Vcpu) -> str:
    """What was pending meanwhile."""
    events = " and ".join(pending_in(vcpu))
    return events and f" with {events} pending"


def refusal(step: Step, reference: Observation | None, own: Observation | None) -> Fate | None:
    """What shows, where one variant refuses what another accepts, or answers otherwise."""
    if reference is None or own is None:
        return None
    words = words_of(step)
    exits = [one.nested_exit for one in (reference, own)]
    failed = [bool(one and "INVALID" in one.reason) for one in exits]
    refused = [one.mp_state == "EINVAL" or one.outcome == "error" for one in (reference, own)]
    if step.op in ENTRIES and failed[0] != failed[1]:
        return Fate((), f"{words} {'refused' if failed[1] else 'accepted'}")
    if step.op in IOCTL_OPS and refused[0] != refused[1]:
        return Fate((), f"{words} {'fails' if refused[1] else 'succeeds'}")
    if exits[0] and exits[1] and exits[0].activity != exits[1].activity:
        return Fate((), f"VM exit saves activity {exits[1].activity}, not {exits[0].activity},")
    if step.op == "rdmsr" and reference.taken != own.taken:
        values = ["".join(one.taken).rpartition(":")[2] for one in (own, reference)]
        return Fate((), f"{words} reads {', not '.join(values)}")
    return None


def unlike(step: Step, reference: Observation | None, own: Observation | None) -> Fate:
    """What shows, field by field."""
    for field in Observation._fields:
        values = [getattr(one, field, None) for one in (own, reference)]
        if values[0] != values[1]:
            shows = "ends" if field == "outcome" else f"shows {field}"
            return Fate((), f"{words_of(step)} {shows} {', not '.join(map(in_words, values))},")
    return Fate((), f"{words_of(step)} leaves other state behind")


def words_of(step: Step) -> str:
    return f"{step.op} {step.mode}".strip()


def in_words(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "nothing"
    return str(value)


def vcpu_in(values: Iterable[object]) -> Vcpu | None:
    """The first vCPU among what a call is given or gives."""
    return next((thaw(one.vcpu) for one in values if isinstance(one, Seen)), None)
