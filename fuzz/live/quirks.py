"""What the emulators do otherwise than a processor; docs/live-quirks.md has the evidence.

A quirk explains a disagreement between model and live KVM; conform names it and counts it apart.
It is asked about the first step that disagrees, and must not hold for anything else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fuzz.compare.traces import Trace
from fuzz.schedule.schedule import Schedule
from variants.live.bochs import ENOUGH, Version
from variants.machine.observation import Observation


@dataclass(frozen=True)
class Quirk:
    """explains: whether the quirk is why the two traces first differ at the step given.

    mended: the first Bochs without it.
    """

    name: str
    mended: Version
    explains: Callable[[Schedule, int, Trace, Trace], bool]


def nmi_exit(observed: Observation) -> bool:
    """Was there a VM exit for an NMI?"""
    return observed.nested_exit is not None and observed.nested_exit.reason == "EXCEPTION_NMI"


def nmis(observed: Observation) -> int:
    """How many NMIs the step shows, taken by the guest or as a VM exit."""
    return observed.taken.count("nmi") + nmi_exit(observed)


def masks_nmis(observed: Observation) -> bool:
    """Were NMIs masked when the step ended: in SMM, or in L1 after an NMI exit?"""
    return observed.smm or nmi_exit(observed)


def bochs_nmi_blocking(schedule: Schedule, step: int, model: Trace, live: Trace) -> bool:
    """An NMI is missing live, and NMIs were masked before, on whichever vCPU."""
    if schedule.vendor != "vmx" or step >= len(live):
        return False
    missing = nmis(model[step]) > nmis(live[step])
    return missing and any(masks_nmis(before) for before in live[:step])


QUIRKS: Final = (
    Quirk(
        "bochs-nmi-blocking",
        ENOUGH,
        bochs_nmi_blocking,
    ),
)


def quirk_of(
    schedule: Schedule, step: int, model: Trace, live: Trace, bochs: Version | None
) -> str:
    """The name of the quirk that explains the difference at `step`, or "".

    bochs: the version in which VMX ran, None if that was a processor.
    """
    if bochs is None:
        return ""
    found = (
        quirk.name
        for quirk in QUIRKS
        if bochs < quirk.mended and quirk.explains(schedule, step, model, live)
    )
    return next(found, "")
