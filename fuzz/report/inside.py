"""What a model holds of each vCPU after each step: where it stands, and what it has yet to take.

Nobody outside KVM sees this, so nothing is compared by it; it says why what is seen comes later.
"""

from typing import Final, NamedTuple

from fuzz.schedule.schedule import Schedule
from variants.machine.machine import Machine, State, initial_state
from variants.machine.machine import step as take_step
from variants.machine.vcpu import FIELDS, KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Req, VcpuState, thaw

EVENTS: Final = ("INIT", "SIPI", "NMI", "SMI", "interrupt")
"""What can be pending, in the order of `Inside.pending`."""


class Inside(NamedTuple):
    """A vCPU between two steps.

    place: `L1`, `L2` or `SMM`. waits: why KVM_RUN would wait, `HLT` or `WFS`, else "".

    pending: the events, of `EVENTS`, that it has yet to take. state: all there is.
    """

    place: str
    waits: str
    pending: tuple[str, ...]
    begun: bool
    state: VcpuState


Held = tuple[tuple[Inside, ...], ...]
"""By step, at its end, then by vCPU."""


def held_of(machine: Machine, schedule: Schedule) -> Held:
    """What a variant's model holds in `schedule`, step by step."""
    state, held = initial_state(schedule.vcpus), []
    for taken in schedule.steps:
        state, _ = take_step(machine, state, taken)
        held.append(all_inside(state))
    return tuple(held)


def all_inside(state: State) -> tuple[Inside, ...]:
    """What a model's `state` holds of each vCPU. What is armed by `at` has not arrived yet."""
    return tuple(map(inside, state.vcpus))


def inside(state: VcpuState) -> Inside:
    vcpu = thaw(state)
    place = "SMM" if vcpu.smm else "L2" if vcpu.guest_mode else "L1"
    waits = {Mp.HALTED: "HLT", Mp.INIT_RECEIVED: "WFS"}.get(vcpu.mp_state, "")
    there = (
        vcpu.pending_events & KVM_APIC_INIT,
        vcpu.pending_events & KVM_APIC_SIPI,
        vcpu.nmi_pending or vcpu.nmi_queued,
        vcpu.smi_pending or vcpu.requests & Req.SMI,
        vcpu.irr,
    )
    pending = (event for event, one in zip(EVENTS, there, strict=True) if one)
    return Inside(place, waits, tuple(pending), vcpu.boot >= 0, state)


def unlike(one: Inside, other: Inside) -> list[str]:
    """The fields of `Vcpu` in which two differ."""
    pairs = zip(FIELDS, one.state, other.state, strict=True)
    return [name for name, a, b in pairs if a != b]
