"""Traces as seed schedules, with an account of what they hold that schedules do not."""

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from fuzz.schedule.schedule import Schedule
from fuzz.trace.line import event_in
from fuzz.trace.steps import Reading
from fuzz.trace.windows import schedules_in
from variants.machine.step import Vendor

TOLD_BY_OTHERS: Final = ("kvm_nested_vmrun", "kvm_nested_vmenter", "kvm_nested_vmexit")
"""Events that say nothing that exits and their injection do not."""


class Traced(NamedTuple):
    """left: what was left out, and how often."""

    schedules: list[Schedule]
    left: Counter[str]


class TraceError(Exception):
    """A trace that no schedule can be made of: one line."""


def read_trace(lines: Iterable[str], name: str, vendor: Vendor | None) -> Traced:
    """The schedules in a trace. vendor: None for what its exit reasons tell. Raises TraceError."""
    reading = Reading()
    for line in lines:
        if isinstance(event := event_in(line), str):
            if event not in TOLD_BY_OTHERS:
                reading.left[f"{event} events"] += 1
        elif event is not None:
            reading.take(event)
        elif line.strip() and not line.startswith("#"):
            reading.left["lines that are no event of KVM's"] += 1
    if vendor and reading.vendor and reading.vendor != vendor:
        raise TraceError(f"a trace of {reading.vendor}, by its exit reasons, not of {vendor}")
    known = vendor or reading.vendor
    if known is None:
        raise TraceError("no exit reason says of which vendor it is: give --vendor")
    schedules, elsewhere = schedules_in(reading.steps, known, name)
    if not schedules:
        raise TraceError("no INIT and no SIPI that an ICR write sends")
    reading.left["steps far from INIT and SIPI or of other vCPUs"] = elsewhere
    return Traced(schedules, +reading.left)
