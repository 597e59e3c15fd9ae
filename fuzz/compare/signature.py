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
    """What identifies a divergence class; as text in reports and certificates."""

    vendor: Vendor
    kind: Kind
    cause: Cause
    shows: str

    def __str__(self) -> str:
        return f"{self.vendor}: {self.kind}: {self.cause}: {self.shows}"


class Divergence(NamedTuple):
    """A group that splits. `groups` are the parts, each a tuple of variant names."""

    signature: Signature
    groups: tuple[tuple[str, ...], ...]

    @property
    def kind(self) -> Kind:
        return self.signature.kind


class Finding(NamedTuple):
    """A divergence class with the smallest schedule known to show it."""

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
    kind, shows = look(observed[parts[0][0]], observed[parts[1][0]])
    cause, own = answer
    if kind == "visible":
        shows = own
    if cause.race:
        shows = "in a race"
    return Divergence(Signature(compared.vendor, kind, cause, shows), named(compared, parts))


def latent(compared: Compared, parts: Sequence[Group], cause: Cause) -> Divergence:
    """A group whose members showed the same and differ inside where a schedule ends."""
    signature = Signature(compared.vendor, "latent", cause, "hidden state")
    return Divergence(signature, named(compared, parts))


def named(compared: Compared, parts: Sequence[Group]) -> tuple[tuple[str, ...], ...]:
    """Groups of variants by their names."""
    return tuple(tuple(compared.names[member] for member in part) for part in parts)


def look(one: Observation, other: Observation) -> tuple[Kind, str]:
    """Kind and looks of the difference between two observations, without vectors."""
    if one.warn != other.warn:
        return "warning", one.warn or other.warn or ""
    if PACE.get(one.outcome, 2) != PACE.get(other.outcome, 2):
        return "liveness", "one waits, another goes on"
    if telling(one, other) not in ("nested_exit", "guest_mode"):
        return "visible", ELSEWHERE
    a, b = one.nested_exit, other.nested_exit
    same = a is not None and b is not None and a.reason == b.reason
    return "visible", "saved activity" if same else "VM exit"


def telling(one: Observation, other: Observation) -> str:
    """The most telling field in which two observations differ; "" if none does."""
    return next((f for f in FIELDS if getattr(one, f) != getattr(other, f)), "")
