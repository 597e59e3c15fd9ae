"""Novelty walks: schedules that prefer to do what has not been done yet.

A walk goes along `original`'s model, all families of steps mixed, and takes of what can happen to a
vCPU something that has not happened in such a state yet: a pair, `fuzz.live.pairs`. Nothing is
explored first, and states with two families' events in them are reached too, of which there is no
end. Walks remember the pairs of those before them, so a set of them is made in one go.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

from fuzz.compare.compared import Compared
from fuzz.explore.search import Event
from fuzz.live.pairs import MOST_STEPS, Pair, met
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import alphabet_of, words_of
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import Machine, State, initial_state, step
from variants.machine.step import MIN_VCPUS, TO_OTHERS, Step, Vendor
from variants.machine.vcpu import Irq

THREE_VCPUS: Final = 0.5
"""How often a walk has three vCPUs."""
ON_AN_AP: Final = 0.7
"""How often a walk begins on an AP."""
OTHER_VCPU: Final = 0.06
"""How often another vCPU acts next."""
DEASSERT: Final = Irq("init-deassert", 0)
"""Should change nothing, and so is not in the usual alphabet."""


def events_of(vendor: Vendor) -> tuple[Event, ...]:
    """Whatever can happen to a vCPU, NMIs and SMIs also by the host's ioctls."""
    alphabet = alphabet_of(vendor, words_of(vendor), races=False)
    own = (*alphabet.steps, Step("nmi", 0), Step("smi", 0))
    messages = (*alphabet.messages, DEASSERT)
    return (*(Event(one, None) for one in own), *(Event(None, irq) for irq in messages))


def walks(subject: Compared, count: int, seed: int) -> Iterator[Schedule]:
    """`count` walks of `MOST_STEPS` steps on the first variant of `subject`."""
    random = Random(seed)
    machine = Tables(subject).compared.machines[0]
    events = events_of(subject.vendor)
    taken: set[Pair] = set()
    for number in range(count):
        vcpus = MIN_VCPUS + (random.random() < THREE_VCPUS)
        done = tuple(walk(machine, events, vcpus, taken, random))
        yield Schedule(subject.vendor, vcpus, done, f"novelty-{subject.vendor}-{number}")


def walk(
    machine: Machine, events: tuple[Event, ...], vcpus: int, taken: set[Pair], random: Random
) -> Iterator[Step]:
    """A walk's steps. taken: what others before have, to which its own are added."""
    state = initial_state(vcpus)
    on = random.randrange(1, vcpus) if random.random() < ON_AN_AP else 0
    for _ in range(MOST_STEPS):
        alive = [n for n in range(vcpus) if met(state.vcpus[n])]
        if on not in alive or random.random() < OTHER_VCPU:
            on = random.choice([n for n in alive if n != on] or [on])
        here = met(state.vcpus[on])
        if not here:
            return
        senders = [n for n in alive if n != on and sends(machine, state, n)]
        able = [event for event in events if senders or not event.message]
        event = random.choice([one for one in able if (here, one) not in taken] or able)
        taken.add((here, event))
        if event.message:
            taking = Step("icr", random.choice(senders), on, *event.message)
        else:
            assert event.step
            taking = event.step._replace(on=on)
        yield taking
        state, _ = step(machine, state, taking)


def sends(machine: Machine, state: State, on: int) -> bool:
    """Would vCPU `on` get to write its ICR now?"""
    return machine.step_vcpu(state.vcpus[on], Step("icr", on, TO_OTHERS), ()).sent
