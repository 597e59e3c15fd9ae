"""What a finding is called: an event, what becomes of it, and the state that it met."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fuzz.compare.signature import Form
from fuzz.compare.wording import place, waits_in_l2
from fuzz.findings.fate import fate, vcpu_in
from fuzz.findings.origin import Origin
from variants.machine.step import IOCTL_OPS, Vendor

PLACES: Final = {"VMX root": "VMX root operation"}
MOST: Final = 3
"""Events that a title names."""


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
    words = [what, *whereabouts(where), *lands(forms[0][1])]
    words += by_ioctl(forms) if events else []
    return " ".join(words).rstrip(",")


def met(form: Form, origin: Origin) -> Met | None:
    """The state of the vCPU in the call that first differs; None if the call has none."""
    vcpu = vcpu_in(origin.deviant.given) if origin.deviant else None
    if vcpu is None:
        return None
    vendor, more = form.schedule.vendor, []
    if waits_in_l2(vcpu):
        more.append("in wait-for-SIPI")
    if vcpu.guest_mode and vcpu.nested_run_pending:
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


def unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def listed(words: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""
