"""Divergences and their names.

A signature is built from the vendor, the kind, the cause (`fuzz.compare.cause`) and how it shows.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from fuzz.compare.compared import Compared, Group
from fuzz.schedule.schedule import Schedule
from variants.machine.observation import Observation
from variants.machine.step import Vendor

Kind = Literal["visible", "liveness", "warning", "latent"]

PACE: Final = {"blocked": 0, "busy": 1}
"""How far the guest gets: it sleeps, KVM spins; else it runs."""
GAITS: Final = ("waits", "spins", "goes on")
"""The paces in words."""
FIELDS: Final = (
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
"""The fields of an observation but `warn`, most telling first."""
ELSEWHERE: Final = "elsewhere"


class Cause(NamedTuple):
    """Who treats what differently: what a reviewer would discuss, however it shows.

    sides: the variants that do the same. what: an event and the state it met, or a step. race:
        the order of a step and a message matters.
    """

    sides: tuple[tuple[str, ...], ...]
    what: str
    race: bool = False

    def __str__(self) -> str:
        return f"{' | '.join('+'.join(side) for side in self.sides)}: {self.what}"


class Answer(NamedTuple):
    """Why variants differ after a step, and how that shows if they were alike before it."""

    cause: Cause
    shows: str


class Signature(NamedTuple):
    """What identifies a divergence class; as text in reports and certificates.

    warned: the function whose WARN fires in one variant only, beside what else shows; else "".
    """

    vendor: Vendor
    kind: Kind
    cause: Cause
    shows: str
    warned: str = ""

    def __str__(self) -> str:
        warned = self.warned and f", WARN {self.warned}"
        return f"{self.vendor}: {self.kind}: {self.cause}: {self.shows}{warned}"


class Divergence(NamedTuple):
    """A group that splits. `groups` are the parts, each a tuple of variant names."""

    signature: Signature
    groups: tuple[tuple[str, ...], ...]

    @property
    def kind(self) -> Kind:
        return self.signature.kind


class Form(NamedTuple):
    """A divergence class with the smallest schedule known to show it: one of the forms that a cause
    takes."""

    divergence: Divergence
    schedule: Schedule

    @property
    def signature(self) -> Signature:
        return self.divergence.signature


def visible(
    compared: Compared,
    parts: Sequence[Group],
    answer: Answer,
    observed: Mapping[int, Observation],
) -> Divergence:
    """A split that shows in the observations.

    answer: its `shows` is ELSEWHERE if the cause lies in an earlier step. What a difference leads
        to many steps later is of endless variety and says little.
    """
    # Of a split in three the first two parts name the class, as they do its cause.
    kind, shows, warned = look(observed[parts[0][0]], observed[parts[1][0]])
    cause, own = answer
    if kind == "visible":
        shows = own
    if cause.race:
        shows = "in a race"
    signature = Signature(compared.vendor, kind, cause, shows, warned)
    return Divergence(signature, named(compared, parts))


def latent(compared: Compared, parts: Sequence[Group], cause: Cause) -> Divergence:
    """A group whose members showed the same and differ inside where a schedule ends."""
    signature = Signature(compared.vendor, "latent", cause, "hidden state")
    return Divergence(signature, named(compared, parts))


def named(compared: Compared, parts: Sequence[Group]) -> tuple[tuple[str, ...], ...]:
    """Groups of variants by their names."""
    return tuple(tuple(compared.names[member] for member in part) for part in parts)


class Look(NamedTuple):
    """How two observations differ. warned: as in `Signature`."""

    kind: Kind
    shows: str
    warned: str


def look(one: Observation, other: Observation) -> Look:
    """Kind and looks of the difference between two observations, without vectors.

    A WARN names the kind only where nothing else tells the two apart.
    """
    warned = (one.warn or other.warn or "") if one.warn != other.warn else ""
    field = telling(one, other)
    if not field:
        return Look("warning", warned, "")
    paces = sorted(PACE.get(seen.outcome, 2) for seen in (one, other))
    if paces[0] != paces[1]:
        slower, faster = [GAITS[pace] for pace in paces]
        return Look("liveness", f"one {slower}, another {faster}", warned)
    if field == "guest_mode":
        return Look("visible", "in L2 or not", warned)
    if field != "nested_exit":
        return Look("visible", ELSEWHERE, warned)
    a, b = one.nested_exit, other.nested_exit
    same = a is not None and b is not None and a.reason == b.reason
    return Look("visible", "saved activity" if same else "VM exit", warned)


def telling(one: Observation, other: Observation) -> str:
    """The most telling field in which two observations differ; "" if none does."""
    return next((f for f in FIELDS if getattr(one, f) != getattr(other, f)), "")
