"""What two runs found differently: campaigns, explorations, versions of a patch."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Shown(NamedTuple):
    """What a run says of a signature. steps: of its reproducer. ruling: of the finding that it is a
    form of; "" where the run does not say. leads_to: what a latent one shows as later."""

    steps: int
    ruling: str = ""
    leads_to: str = ""


class Change(NamedTuple):
    """A signature of which two runs say different things. what: in words."""

    signature: str
    what: str


class Changes(NamedTuple):
    """new: only the second run has it; gone: only the first; shorter: its reproducer is shorter in
    the second; changed: anything else that they say of it."""

    new: Sequence[Change]
    gone: Sequence[Change]
    shorter: Sequence[Change]
    changed: Sequence[Change]


Run = Mapping[str, Shown]
"""What a run found, by signature."""


def run_of(told: Mapping[str, Any]) -> Run:
    """A run's `campaign.json` or `certificate.json`. Raises KeyError, TypeError or AttributeError
    for anything else."""
    rulings = {
        name: str(one["ruling"]) for one in told.get("findings", ()) for name in one["signatures"]
    }
    return {
        one["signature"]: Shown(one["length"], rulings.get(one["signature"], ""), leads_to(one))
        for one in told["signatures"]
    }


def leads_to(told: Mapping[str, Any]) -> str:
    """What a certificate says that a latent signature shows as."""
    if "shows" not in told:
        return ""
    shows = told["shows"]
    return f"shows as {shows['signature']}" if shows else "never shows"


def renamed(name: str, names: Mapping[str, str]) -> str:
    """A signature with its variants called by other `names`."""
    vendor, kind, groups, rest = name.split(": ", 3)
    parts = [[names.get(one, one) for one in part.split("+")] for part in groups.split(" | ")]
    return f"{vendor}: {kind}: {' | '.join(map('+'.join, parts))}: {rest}"


def as_called(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, str]:
    """What the variants of the second run are called in the first: those in the same places, unless
    both have the same."""
    one, other = [list(told.get("compared", told).get("variants", ())) for told in (first, second)]
    if len(one) != len(other) or set(one) == set(other):
        return {}
    return {its: own for own, its in zip(one, other, strict=True) if own != its}


def changes(one: Run, other: Run) -> Changes:
    """From the run `one` to the run `other`, by signature."""
    both = sorted(one.keys() & other.keys())
    fewer = [name for name in both if other[name].steps < one[name].steps]
    otherwise = [(name, said_otherwise(one[name], other[name])) for name in both]
    return Changes(
        new=[Change(name, steps(other[name])) for name in sorted(other.keys() - one.keys())],
        gone=[Change(name, steps(one[name])) for name in sorted(one.keys() - other.keys())],
        shorter=[Change(name, f"{one[name].steps} to {steps(other[name])}") for name in fewer],
        changed=[Change(name, "; ".join(said)) for name, said in otherwise if said],
    )


def said_otherwise(one: Shown, other: Shown) -> list[str]:
    """What two runs say differently of a signature, beside a shorter reproducer."""
    said = [f"{one.steps} to {steps(other)}"] if other.steps > one.steps else []
    pairs = ((one.ruling, other.ruling), (one.leads_to, other.leads_to))
    return said + [f"{was} to {now}" for was, now in pairs if was and now and was != now]


def steps(shown: Shown) -> str:
    return f"{shown.steps} step{'s' if shown.steps != 1 else ''}"


def changes_text(found: Changes) -> str:
    """`found` for people: a part a kind of change, "" if there is none."""
    parts = [
        "".join([f"{kind}:\n", *(f"  {one.signature}\n      {one.what}\n" for one in some)])
        for kind, some in found._asdict().items()
        if some
    ]
    return "\n".join(parts)
