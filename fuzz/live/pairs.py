"""What schedules for live runs are to cover: pairs.

A patch acts where a vCPU is in some state and something happens to it. States are too many to try
each with everything; outlines, what of a state decides what becomes of events, are few enough. A
pair is an outline, of the BSP or of an AP as INIT treats them differently, and what happens: a step
of the vCPU's own, or a message that reaches it. All instructions that are not executed, because the
vCPU waits or their context is not there, are the same: KVM_RUN takes what is pending, no more.
"""

from collections.abc import Iterator
from typing import Final

from fuzz.campaign.coverage import Outline, outline
from fuzz.explore.search import Event
from fuzz.schedule.schedule import Schedule, own_part
from variants.machine.machine import Machine, initial_state, step
from variants.machine.observation import Observation
from variants.machine.step import IOCTL_OPS, Step, targets
from variants.machine.vcpu import Irq, VcpuState, thaw

MOST_STEPS: Final = 32
"""Of a schedule that is made to cover pairs: longer ones are harder to read and cost more when
they break off, shorter ones reach less."""

Met = tuple[bool, Outline]
"""Is it the BSP, and its outline."""
Pair = tuple[Met, Event]
IDLE: Final = Event(Step("nop", 0), None)
"""What an instruction that is not executed amounts to."""


def met(vcpu: VcpuState) -> Met | None:
    """What a vCPU's pairs begin with in this state; None once KVM_RUN cannot continue it."""
    thawed = thaw(vcpu)
    return None if thawed.dead else (thawed.bsp, outline(vcpu))


def amounts_to(event: Event, shown: Observation | None) -> Event:
    """What has happened to a vCPU. shown: by it in its own step, None if a message came."""
    idle = event.step and shown and event.step.op not in IOCTL_OPS and not shown.executed
    return IDLE if idle else event


def pairs_in(machine: Machine, schedule: Schedule) -> Iterator[Pair]:
    """The pairs that `schedule`, without races, takes in a variant's machine."""
    state = initial_state(schedule.vcpus)
    for taken in schedule.steps:
        before = state
        state, shown = step(machine, before, taken)
        happening = [(taken.on, amounts_to(Event(own_part(taken), None), shown))]
        if taken.op == "icr" and machine.step_vcpu(before.vcpus[taken.on], taken, ()).sent:
            irq = Irq(taken.mode, taken.vector)
            others = [target for target in targets(taken, schedule.vcpus) if target != taken.on]
            happening += [(target, Event(None, irq)) for target in others]
        for on, event in happening:
            if here := met(before.vcpus[on]):
                yield here, event
