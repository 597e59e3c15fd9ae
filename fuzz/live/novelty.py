"""Novelty walks: schedules that prefer to do what has not been done yet.

A walk goes along `original`'s model, all families of steps mixed, and takes of what can happen to a
vCPU something that has not happened in such a state yet (a pair, `fuzz.live.pairs`), and of a few
such the one that leads to where least has happened. Nothing is explored first, and states with two
families' events in them are reached too, of which there is no end. Walks remember the pairs of
those before them, so a set of them is made in one go.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from math import inf
from random import Random
from typing import Final

from fuzz.compare.compared import Compared
from fuzz.explore.search import Event
from fuzz.live.pairs import MOST_STEPS, Met, amounts_to, met, pairs_in
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import alphabet_of, words_of
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import Machine, State, initial_state, step
from variants.machine.step import MIN_VCPUS, TO_OTHERS, Step, Vendor
from variants.machine.vcpu import Irq, VcpuState

THREE_VCPUS: Final = 0.5
"""How often a walk has three vCPUs."""
ON_AN_AP: Final = 0.7
"""How often a walk begins on an AP."""
OTHER_VCPU: Final = 0.06
"""How often another vCPU acts next."""
AHEAD: Final = 4
"""Of how many events that are new here a walk asks where they lead."""
DEASSERT: Final = Irq("init-deassert", 0)
"""Should change nothing, and so is not in the usual alphabet."""

Taken = defaultdict[Met, set[Event]]
"""The pairs that walks have taken: what has happened, by where."""


def events_of(vendor: Vendor) -> tuple[Event, ...]:
    """Whatever can happen to a vCPU, NMIs and SMIs also by the host's ioctls."""
    alphabet = alphabet_of(vendor, words_of(vendor), races=False)
    own = (*alphabet.steps, Step("nmi", 0), Step("smi", 0))
    messages = (*alphabet.messages, DEASSERT)
    return (*(Event(one, None) for one in own), *(Event(None, irq) for irq in messages))


def walks(
    subject: Compared, count: int, seed: int, begun: Sequence[Schedule] = ()
) -> Iterator[Schedule]:
    """`count` walks of `MOST_STEPS` steps on the first variant of `subject`.

    begun: short schedules without races; the first walks go on from these.
    """
    random = Random(seed)
    machine = Tables(subject).compared.machines[0]
    events = events_of(subject.vendor)
    taken: Taken = defaultdict(set)
    for number in range(count):
        if number < len(begun):
            start = begun[number]
        else:
            vcpus = MIN_VCPUS + (random.random() < THREE_VCPUS)
            start = Schedule(subject.vendor, vcpus, ())
        done = (*start.steps, *walk(machine, events, start, taken, random))
        yield Schedule(subject.vendor, start.vcpus, done, f"novelty-{subject.vendor}-{number}")


def walk(
    machine: Machine, events: tuple[Event, ...], begun: Schedule, taken: Taken, random: Random
) -> Iterator[Step]:
    """The steps of a walk after those of `begun`. taken: what others before have, to which those
    of the whole are added."""
    for where, event in pairs_in(machine, begun):
        taken[where].add(event)
    vcpus = begun.vcpus
    state = initial_state(vcpus)
    for before in begun.steps:
        state, _ = step(machine, state, before)
    on = random.randrange(1, vcpus) if random.random() < ON_AN_AP else 0
    for _ in range(MOST_STEPS - len(begun.steps)):
        alive = [n for n in range(vcpus) if met(state.vcpus[n])]
        if on not in alive or random.random() < OTHER_VCPU:
            on = random.choice([n for n in alive if n != on] or [on])
        here = met(state.vcpus[on])
        if not here:
            return
        senders = [n for n in alive if n != on and sends(machine, state, n)]
        able = [event for event in events if senders or not event.message]
        event = chosen(machine, state.vcpus[on], able, taken, random)
        taken[here].add(event)
        if event.message:
            taking = Step("icr", random.choice(senders), on, *event.message)
        else:
            assert event.step
            taking = event.step._replace(on=on)
        yield taking
        state, _ = step(machine, state, taking)


def chosen(
    machine: Machine, vcpu: VcpuState, able: Sequence[Event], taken: Taken, random: Random
) -> Event:
    """What happens next: of a few events that are new here, that which leads to where least has."""
    here = met(vcpu)
    assert here
    new = [event for event in able if event not in taken[here]]
    random.shuffle(new)
    some: list[Event] = []
    for event in new:
        shown = machine.step_vcpu(vcpu, event.step, ()).observation if event.step else None
        amount = amounts_to(event, shown)
        # What amounts to one that is taken is so too, and need not be asked about again.
        if amount != event:
            taken[here].add(event)
        if amount not in taken[here] and amount not in some:
            some.append(amount)
        if len(some) == AHEAD:
            break
    some = some or [random.choice(able)]
    return min(some, key=partial(known_after, machine, vcpu, taken))


def known_after(machine: Machine, vcpu: VcpuState, taken: Taken, event: Event) -> float:
    """How much has happened where `event` leads; without end where nothing can happen any more."""
    if event.message:
        after = machine.deliver(vcpu, event.message)
    else:
        assert event.step
        after = machine.step_vcpu(vcpu, event.step, ()).vcpu
    there = met(after)
    return len(taken[there]) if there else inf


def sends(machine: Machine, state: State, on: int) -> bool:
    """Would vCPU `on` get to write its ICR now?"""
    return machine.step_vcpu(state.vcpus[on], Step("icr", on, TO_OTHERS), ()).sent
