"""Marks: how a difference looks that real kernels show.

Real KVM does not tell what is inside, so what is known of a difference is who parts from whom, in
which field of what they show, and with which values.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from fuzz.compare.signature import FIELDS
from fuzz.compare.traces import Traces
from fuzz.live.run import known, live_splits, why
from fuzz.schedule.schedule import Schedule
from variants.machine.observation import Observation
from variants.machine.step import Step

Groups = tuple[tuple[str, ...], ...]

ENDS: Final = "ends"
"""In place of a field: the schedule ends some kernels, and others not."""
ON: Final = "goes on"
PACES: Final = {"blocked": "waits", "busy": "spins"}
REFUSED: Final = "EINVAL"
ADDRESS: Final = re.compile(r"\b(?:0x)?[0-9a-f]{6,}\b")


class Mark(NamedTuple):
    """groups: as in a split. field: of an observation, the most telling one that differs, or
    `ENDS`. values: what each group has there; no vectors, for these tell no cause."""

    groups: Groups
    field: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        shown = zip(self.groups, self.values, strict=True)
        return f"{self.field}: " + ", ".join(f"{'+'.join(g)} {value}" for g, value in shown)


def marks(schedule: Schedule, traces: Traces) -> list[tuple[int, Mark]]:
    """Where live variants part, and how that looks, in order of the steps.

    A variant whose run broke off, where another of the same group went on, parts there too.
    """
    found = []
    for step, groups in live_splits(traces):
        shown = [traces[group[0]][step] for group in groups]
        found.append((step, mark_of(groups, schedule.steps[step], shown)))
    return sorted(found + ends(traces, [step for step, _ in found]), key=lambda one: one[0])


def mark_of(groups: Groups, step: Step, shown: Sequence[Observation]) -> Mark:
    """The mark of groups that show different observations in `step`."""
    paces = {PACES.get(one.outcome, ON) for one in shown}
    if len(paces) > 1:
        # However far it goes: that tells where the vCPU was, not why it goes on.
        return Mark(groups, "outcome", tuple(PACES.get(one.outcome, ON) for one in shown))
    for field in ("warn", *FIELDS):
        told = apart(shown) if field == "taken" else shown
        values = tuple(value_of(field, step, one) for one in told)
        if len(set(values)) > 1:
            return Mark(groups, field, values)
    vectors = list(dict.fromkeys(one.vector for one in shown))
    words = ("one", *["another"] * len(vectors))
    return Mark(groups, "vector", tuple(words[vectors.index(one.vector)] for one in shown))


def apart(shown: Sequence[Observation]) -> list[Observation]:
    """Without what all have taken; if that is everything, in another order, as they are."""
    common = set.intersection(*(set(one.taken) for one in shown))
    less = [
        one._replace(taken=tuple(event for event in one.taken if event not in common))
        for one in shown
    ]
    return less if any(one.taken for one in less) else list(shown)


def value_of(field: str, step: Step, shown: Observation) -> str:
    """What an observation has in a field, in a word or two."""
    value: Any = getattr(shown, field)
    match field:
        case "nested_exit" if value:
            saved = f" (saved {value.activity})" if value.activity not in ("", "active") else ""
            return f"{value.reason}{saved}"
        case "mp_state" if step.op == "set-mp-state":
            return "refuses it" if value == REFUSED else "takes it"
        case "vector":
            return "none" if value is None else "some"
        case "taken":
            plain = (one.partition(":")[0] if one.startswith("fixed") else one for one in value)
            return " ".join(plain) or "nothing"
        case _:
            return "nothing" if value is None else str(value).lower()


def ends(traces: Traces, parted: Sequence[int]) -> list[tuple[int, Mark]]:
    """The first step in which runs broke off, if others went on that were alike so far.

    parted: the steps at which variants part; what breaks off later is no longer compared.
    """
    lengths = {name: len(known(trace)) for name, trace in traces.items()}
    broken = [name for name, trace in traces.items() if lengths[name] < len(trace)]
    if not broken:
        return []
    step = min(lengths[name] for name in broken)
    if any(one <= step for one in parted):
        return []
    whys: dict[str, list[str]] = {}
    for name, trace in traces.items():
        ends_here = name in broken and lengths[name] == step
        words = ADDRESS.sub("..", why(trace)) if ends_here else ON
        whys.setdefault(words, []).append(name)
    if len(whys) < 2:
        return []
    return [(step, Mark(tuple(map(tuple, whys.values())), ENDS, tuple(whys)))]
