"""What the emulators do otherwise than a processor; docs/live-quirks.md has the evidence.

A quirk explains a disagreement between model and live KVM; conform names and counts it. It is
asked about the first step that disagrees, and must not hold for anything else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fuzz.schedule import Schedule

Trace = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Quirk:
    """explains: whether the quirk is why the two traces first differ at the step given."""

    name: str
    evidence: str
    explains: Callable[[Schedule, int, Trace, Trace], bool]


QUIRKS: Final[tuple[Quirk, ...]] = ()


def quirk_of(schedule: Schedule, step: int, model: Trace, live: Trace) -> str:
    """The name of the quirk that explains the difference at `step`, or ""."""
    found = (quirk.name for quirk in QUIRKS if quirk.explains(schedule, step, model, live))
    return next(found, "")
