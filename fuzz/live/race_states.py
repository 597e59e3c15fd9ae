"""Where a message in the middle of KVM's loop may be lost: an AP that has an event pending already.

What came before decides what the message can be taken for, so a race that loses one takes two. The
model of `original` leads to such states as the covering set has them, each by few steps; which of
them, and which message, is left to chance. (Not the BSP: INIT has it start over within the step, by
code of the agent's, in which an NMI finds no handler.)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Final, NamedTuple

from fuzz.campaign.coverage import Outline, outline
from fuzz.live.landings import AT, Race
from fuzz.live.novelty import sends
from fuzz.schedule.alphabet import vector_of
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import Machine, State, initial_state
from variants.machine.machine import step as take_step
from variants.machine.step import Step, Vendor
from variants.machine.vcpu import Req, thaw

RACING: Final[Mapping[Vendor, tuple[str, ...]]] = {
    "svm": ("nop", "get-mp-state", "hlt", "vmrun", "vmmcall", "stgi"),
    "vmx": ("nop", "get-mp-state", "hlt", "vmlaunch", "vmcall", "vmxoff"),
}
"""Steps in which KVM looks at events, and by which it comes to be asked to."""
STARTED: Final = ("init", "sipi")
"""A processor is started by both, one right after the other."""
MESSAGES: Final[Mapping[tuple[str, ...], int]] = {
    ("init",): 4,
    ("sipi",): 3,
    STARTED: 3,
    ("nmi",): 1,
    ("smi",): 1,
    ("fixed",): 1,
}
"""What lands together, and how often: INIT and SIPI are what KVM asks for in several places."""

AFTER: Final = ("nop", "get-mp-state", "nop", "get-vcpu-events", "icr", "nop", "nop")
"""Steps that tell what has become of messages; `icr` is a SIPI, which tells who waits for one, and
is left out where nobody should."""
FURTHER_SIPI: Final = 0x34


class Beginning(NamedTuple):
    """The steps before a race, and the step of an AP that has an event pending then."""

    before: Schedule
    step: Step


def beginnings(machine: Machine, schedules: Iterable[Schedule]) -> list[list[Beginning]]:
    """For each outline of an AP with an event pending, and each step to take in it, the shortest
    beginning of one of `schedules`; those together that are alike but for other events."""
    found: dict[tuple[Outline, str], Beginning] = {}
    kinds: dict[tuple[Outline, str], tuple[object, ...]] = {}
    for schedule in schedules:
        state = initial_state(schedule.vcpus)
        for number, taken in enumerate(schedule.steps):
            if taken.op in RACING[schedule.vendor] and waits(state, taken.on):
                key = (outline(state.vcpus[taken.on]), taken.op)
                if key not in found or number < len(found[key].before.steps):
                    before = schedule._replace(steps=schedule.steps[:number])
                    found[key] = Beginning(before, taken)
                    kinds[key] = (taken.op, *doing(state, taken.on))
            state, _ = take_step(machine, state, taken)
    alike: dict[tuple[object, ...], list[Beginning]] = {}
    for key, beginning in found.items():
        alike.setdefault(kinds[key], []).append(beginning)
    return list(alike.values())


def doing(state: State, on: int) -> tuple[object, ...]:
    """What vCPU `on` is doing, and which of INIT and SIPI it has pending."""
    vcpu = thaw(state.vcpus[on])
    nested = (vcpu.guest_mode, vcpu.controls, vcpu.gif, vcpu.vmxon)
    return (vcpu.pending_events, vcpu.mp_state, vcpu.smm, *nested)


def waits(state: State, on: int) -> bool:
    """Is vCPU `on` an AP that has an event pending?"""
    vcpu = thaw(state.vcpus[on])
    nmi = vcpu.nmi_pending or vcpu.nmi_queued
    smi = vcpu.smi_pending or vcpu.requests & Req.SMI
    return not (vcpu.bsp or vcpu.dead) and bool(vcpu.pending_events or vcpu.irr or nmi or smi)


def some_races(
    machine: Machine, every: Sequence[Sequence[Beginning]], random: Random
) -> Iterator[Race]:
    """Races without end: messages during the step of some beginning, and steps that tell what has
    become of them."""
    while True:
        beginning = random.choice(random.choice(every))
        if not senders(machine, beginning):
            continue
        beginning = shorter(machine, beginning)
        before, step = beginning
        (modes,) = random.choices(list(MESSAGES), list(MESSAGES.values()))
        sender = random.choice(senders(machine, beginning))
        sent = [Step("icr", sender, step.on, mode, vector_of(mode), AT) for mode in modes]
        further = Step("icr", sender, step.on, "sipi", FURTHER_SIPI)
        told = [op for op in AFTER if not (op == "icr" and modes == STARTED)]
        after = [further if op == "icr" else Step(op, step.on) for op in told]
        steps = (*before.steps, *sent, step, *after)
        also = len(sent) - 1
        yield Race(before._replace(steps=steps), len(before.steps) + also, also)


def shorter(machine: Machine, beginning: Beginning) -> Beginning:
    """With steps left out, the last first, as long as the AP comes to the same outline."""
    before, step = beginning
    wanted = outline(state_after(machine, before).vcpus[step.on])
    for number in reversed(range(len(before.steps))):
        left = before._replace(steps=before.steps[:number] + before.steps[number + 1 :])
        less = Beginning(left, step)
        same = outline(state_after(machine, left).vcpus[step.on]) == wanted
        if same and senders(machine, less):
            before = left
    return Beginning(before, step)


def senders(machine: Machine, beginning: Beginning) -> list[int]:
    """The vCPUs that can send the AP a message then."""
    state = state_after(machine, beginning.before)
    on = beginning.step.on
    return [n for n in range(beginning.before.vcpus) if n != on and sends(machine, state, n)]


def state_after(machine: Machine, schedule: Schedule) -> State:
    state = initial_state(schedule.vcpus)
    for step in schedule.steps:
        state, _ = take_step(machine, state, step)
    return state
