"""What a step shows: the machine's output, and that of real KVM.

Apart from the machine, so that who reads traces need not know what made them.
"""

from typing import NamedTuple


class NestedExit(NamedTuple):
    """A VM exit to L1. `activity` is the activity state saved for L2 (VMX), else ""."""

    reason: str
    qualification: int
    activity: str


class Observation(NamedTuple):
    """What L1, the guest or the host can see after a step; docs/schedules.md has the fields."""

    on: int
    outcome: str
    executed: bool
    vector: int | None
    nested_exit: NestedExit | None
    guest_mode: bool
    gif: bool | None
    vmxon: bool | None
    smm: bool
    latched_init: bool | None
    mp_state: str | None
    taken: tuple[str, ...]
    woke: bool
    warn: str | None
