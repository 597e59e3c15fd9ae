"""Findings: what a reviewer discusses, one a cause, with all the forms in which it shows."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from fuzz.compare.signature import Form
from fuzz.compare.traces import differing
from fuzz.findings.origin import Origin, origin_of
from fuzz.findings.title import title
from fuzz.schedule.order import size
from fuzz.schedule.schedule import races
from variants.machine.step import IOCTL_OPS, Vendor
from variants.variant import Variant

Ruling = Literal["regression", "fix", "both", "open", "KVM only"]
"""Who is right: the base alone (`regression`), the change alone (`fix`), neither (`both`), the
manuals do not say (`open`), or they have no say in it (`KVM only`)."""

RANK: Final[tuple[Ruling | None, ...]] = ("regression", "both", None, "open", "fix", "KVM only")
"""What a reviewer needs first."""
ANSWERS: Final = ("outcome", "executed", "mp_state", "latched_init", "warn")
"""What a host learns from an ioctl itself, by its answer or as it fails."""


class Finding(NamedTuple):
    """A cause, and what it leads to.

    title: in words. ruling, rule: None as long as nobody has judged. deviating: the variants whose
    code makes the difference; unlike: the others. functions: those responsible, for the best form.
    forms: every divergence class that comes of it, the best to begin with first.
    """

    title: str
    ruling: Ruling | None
    rule: str | None
    unlike: tuple[str, ...]
    deviating: tuple[str, ...]
    functions: tuple[str, ...]
    vendors: tuple[Vendor, ...]
    forms: tuple[Form, ...]

    @property
    def length(self) -> int:
        """Steps of the best form."""
        return len(self.forms[0].schedule.steps)


def hidden(form: Form) -> tuple[bool, bool]:
    """What speaks against showing a form first: it is latent, it takes a race."""
    return form.divergence.kind == "latent", races(form.schedule)


def grouped(variants: Sequence[Variant], forms: Iterable[Form]) -> list[Finding]:
    """One finding a cause, in the order to read them in. variants: those compared, base first."""
    known: dict[object, list[tuple[Form, Origin]]] = {}
    for form in forms:
        origin = origin_of(tuple(variants), form)
        known.setdefault(origin.key, []).append((form, origin))
    return sorted((finding(variants, some) for some in known.values()), key=order)


def finding(variants: Sequence[Variant], some: Sequence[tuple[Form, Origin]]) -> Finding:
    """The finding with these forms."""
    best = sorted(
        some, key=lambda one: (hidden(one[0]), size(one[0].schedule), str(one[0].signature))
    )
    forms = tuple(form for form, _ in best)
    deviating = best[0][1].deviating
    return Finding(
        title=title(best),
        ruling="KVM only" if of_kvm_only(best) else None,
        rule=None,
        unlike=tuple(one.name for one in variants if one.name not in deviating),
        deviating=deviating,
        functions=tuple(one.__name__ for one in best[0][1].functions),
        vendors=tuple(sorted({form.schedule.vendor for form in forms})),
        forms=forms,
    )


def of_kvm_only(some: Iterable[tuple[Form, Origin]]) -> bool:
    """Is all that shows nothing that the manuals speak of?

    That is a kernel WARN, KVM spinning, or what an ioctl answers.
    """
    shown = [one for one in some if one[0].divergence.kind != "latent"]
    return bool(shown) and all(kvm_only(form, origin) for form, origin in shown)


def kvm_only(form: Form, origin: Origin) -> bool:
    """Is what shows of a form nothing that the manuals speak of?"""
    one, other = origin.shown
    if one is None or other is None:
        return False
    if "busy" in (one.outcome, other.outcome):
        return True
    told = ANSWERS if form.schedule.steps[-1].op in IOCTL_OPS else ("warn",)
    return set(differing(one, other)) <= set(told)


def order(one: Finding) -> tuple[object, ...]:
    """What a reviewer needs first comes first: by ruling, what shows, short."""
    return RANK.index(one.ruling), hidden(one.forms[0]), one.length, one.title
