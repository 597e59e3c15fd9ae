"""Divergences and their names.

A signature is built from the vendor, the kind, the cause (`fuzz.compare.cause`) and how it shows.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from fuzz.compare.compared import Compared, Group
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import Observation

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


class Divergence(NamedTuple):
    """A group that splits. `groups` are the parts, each a tuple of variant names."""

    kind: str
    signature: str
    groups: tuple[tuple[str, ...], ...]


class Finding(NamedTuple):
    """A divergence class with the smallest schedule known to show it."""

    divergence: Divergence
    schedule: Schedule


class Cause(NamedTuple):
    """Why variants differ. name: who treats what differently, and the state it met. shows: how
    that shows where it alone does."""

    name: str
    shows: str


def visible(
    compared: Compared,
    parts: Sequence[Group],
    cause: Cause | None,
    earlier: str,
    observed: Mapping[int, Observation],
) -> Divergence:
    """A split that shows in the observations.

    cause: if it lies in the step; else it is `earlier`. What a difference leads to many steps
    later is of endless variety and says little: how it shows is told only of the step's own.
    """
    # Of a split in three the first two parts name the class, as they do its cause.
    kind, shows = look(observed[parts[0][0]], observed[parts[1][0]])
    name = cause.name if cause else earlier
    if kind == "visible":
        shows = cause.shows if cause else ELSEWHERE
    if ": race with " in name:
        shows = "in a race"
    return divergence(compared, kind, parts, name, shows)


def latent(compared: Compared, parts: Sequence[Group], cause: str) -> Divergence:
    """A group whose members showed the same and differ inside where a schedule ends."""
    return divergence(compared, "latent", parts, cause, "hidden state")


def divergence(
    compared: Compared, kind: str, parts: Sequence[Group], cause: str, shows: str
) -> Divergence:
    """Name the class of a split: kind, cause (with who agrees with whom), how it shows."""
    groups = tuple(tuple(compared.names[member] for member in part) for part in parts)
    return Divergence(kind, f"{compared.vendor}: {kind}: {cause}: {shows}", groups)


def cause_of(divergence: Divergence) -> str:
    """The cause in a signature, sides included."""
    return divergence.signature.split(": ", 2)[2].rsplit(": ", 1)[0]


def look(one: Observation, other: Observation) -> tuple[str, str]:
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
