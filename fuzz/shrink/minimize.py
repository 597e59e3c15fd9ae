"""Minimising: the smallest schedule that still shows a signature, in a canonical form.

A schedule is 1-minimal when no step can be dropped and no argument made simpler without losing
the signature. Of two schedules the one with fewer steps is smaller, then the one with fewer
vCPUs, then the one whose steps come first in the order of `weight`. Each pass tries every
smaller neighbour and takes the first that works, until none does. What is left may still be a
detour, so `fuzz.shrink.atlas` is asked for a shortest one, and that is made simple in turn:
different schedules for one bug end in the same file.
"""

from collections.abc import Iterator
from itertools import permutations, product

from fuzz.compare.signature import Signature
from fuzz.compare.wording import PENDING
from fuzz.memory.automaton import Automaton
from fuzz.schedule.alphabet import vector_of
from fuzz.schedule.codes import FIXED_VECTORS, VECTORS
from fuzz.schedule.order import POINT_ORDER, SIMPLE_OPS, weight
from fuzz.schedule.schedule import Schedule, step_problem
from fuzz.shrink.atlas import atlas_of
from variants.machine.points import POINTS
from variants.machine.step import (
    ICR_MODES,
    IOCTL_OPS,
    MIN_VCPUS,
    MP_STATES,
    TO_SELF,
    Step,
    targets,
)


def shows(automaton: Automaton, schedule: Schedule, signature: Signature) -> int | None:
    """The step at which `schedule` shows `signature`; None if it does not."""
    for number, divergence in automaton.compare(schedule):
        if divergence.signature == signature:
            return number
    return None


def minimize(automaton: Automaton, schedule: Schedule, signature: Signature) -> Schedule:
    """The smallest schedule reached from `schedule`; raises ValueError if it does not show."""
    return shortest(automaton, minimal(automaton, schedule, signature), signature)


def minimal(automaton: Automaton, schedule: Schedule, signature: Signature) -> Schedule:
    """A 1-minimal schedule reached from `schedule`, soon; raises ValueError if it does not show."""
    at = shows(automaton, schedule, signature)
    if at is None:
        raise ValueError(f"the schedule does not show {str(signature)!r}")
    best = schedule._replace(steps=schedule.steps[: at + 1])
    alone = on_one_vcpu(best)
    if shows(automaton, alone, signature) is not None:
        best = alone
    return simplest(automaton, drop_runs(automaton, best, signature), signature)


def shortest(automaton: Automaton, best: Schedule, signature: Signature) -> Schedule:
    """`best`, which shows `signature` and is 1-minimal, or a shorter one that is: no detour."""
    found = atlas_of(automaton.uncached).shortest(signature, best)
    if found is None or shows(automaton, found, signature) is None:
        return best
    return simplest(automaton, found, signature)


def on_one_vcpu(schedule: Schedule) -> Schedule:
    """What the vCPU that acts last does and is sent: mostly all that matters to it."""
    on = schedule.steps[-1].on
    sender = 0 if on else 1
    steps = []
    for step in schedule.steps:
        if step.on == on:
            steps.append(step)
        elif step.op == "icr" and on in targets(step, schedule.vcpus):
            steps.append(step._replace(on=sender, to=on))
    return schedule._replace(steps=tuple(steps))


def simplest(automaton: Automaton, best: Schedule, signature: Signature) -> Schedule:
    """`best`, made smaller by one change after another until none makes it so."""
    while True:
        for candidate in smaller(best):
            if shows(automaton, candidate, signature) is not None:
                best = candidate
                break
        else:
            return best


def drop_runs(automaton: Automaton, best: Schedule, signature: Signature) -> Schedule:
    """Drop runs of steps, long ones first, as far as a single sweep gets."""
    length = len(best.steps) // 2
    while length:
        start = 0
        while start < len(best.steps):
            steps = best.steps[:start] + best.steps[start + length :]
            candidate = best._replace(steps=steps)
            if shows(automaton, candidate, signature) is None:
                start += length
            else:
                best = candidate
        length //= 2
    return best


def smaller(schedule: Schedule) -> Iterator[Schedule]:
    """Every neighbour of `schedule` that is smaller, the likeliest first."""
    steps = schedule.steps
    for number in range(len(steps)):
        yield schedule._replace(steps=steps[:number] + steps[number + 1 :])
    for number in range(len(steps) - 1):
        for candidate in merged(steps[number], steps[number + 1]):
            yield schedule._replace(steps=(*steps[:number], candidate, *steps[number + 2 :]))
    if schedule.vcpus > MIN_VCPUS:
        fewer = schedule._replace(vcpus=schedule.vcpus - 1)
        if not any(step_problem(step, fewer.vendor, fewer.vcpus) for step in steps):
            yield fewer
    weights = [weight(step) for step in steps]
    for order in permutations(range(schedule.vcpus)):
        renamed = tuple(rename(step, order) for step in steps)
        if [weight(step) for step in renamed] < weights:
            yield schedule._replace(steps=renamed)
        # INIT treats the BSP otherwise: what an AP needs the BSP may not.
        for number in range(len(renamed)):
            yield schedule._replace(steps=renamed[:number] + renamed[number + 1 :])
    for number, step in enumerate(steps):
        for candidate in simpler(step, schedule):
            if weight(candidate) < weights[number]:
                yield schedule._replace(steps=(*steps[:number], candidate, *steps[number + 1 :]))
    for number in range(len(steps) - 1):
        if weights[number + 1] < weights[number]:
            swapped = (steps[number + 1], steps[number])
            yield schedule._replace(steps=(*steps[:number], *swapped, *steps[number + 2 :]))
    yield from raced_otherwise(schedule)


def raced_otherwise(schedule: Schedule) -> Iterator[Schedule]:
    """`schedule` with a message landing at another point, and one step fewer."""
    steps = schedule.steps
    for number, step in enumerate(steps):
        if not step.at:
            continue
        for point, mode in product(POINTS, PENDING):
            raced = step._replace(at=point, mode=mode, vector=vector_of(mode))
            for dropped in range(len(steps)):
                if dropped != number:
                    left = [*steps[:number], raced, *steps[number + 1 :]]
                    del left[dropped]
                    yield schedule._replace(steps=tuple(left))


def merged(first: Step, second: Step) -> Iterator[Step]:
    """One step for two: a vCPU that would act on a write sends it to itself."""
    if first.op == "icr" and first.to == second.on:
        yield first._replace(on=second.on, at="")
        if second.op == "icr":
            yield second._replace(to=TO_SELF)


def rename(step: Step, order: tuple[int, ...]) -> Step:
    """`step` with each vCPU n called order[n]."""
    to = order[step.to] if step.op == "icr" and step.to >= 0 else step.to
    return step._replace(on=order[step.on], to=to)


def simpler(step: Step, schedule: Schedule) -> Iterator[Step]:
    """Steps that say less or something plainer than `step`; the caller checks the weight."""
    for op in SIMPLE_OPS:
        for on in range(schedule.vcpus):
            yield Step(op, on)
    if step.op in IOCTL_OPS:
        yield Step("get-mp-state", step.on)
    for on in range(schedule.vcpus):
        yield step._replace(on=on)
    for dropped in step.controls:
        yield step._replace(controls=tuple(c for c in step.controls if c != dropped))
    if step.op == "vmlaunch":
        yield step._replace(mode="active")
    if step.op == "set-mp-state":
        yield from (step._replace(mode=mode) for mode in MP_STATES)
    if step.op != "icr":
        return
    for point in POINT_ORDER:
        yield step._replace(at=point)
    for to in range(schedule.vcpus):
        yield step._replace(to=to)
        yield step._replace(to=to, on=to)
    for mode in ICR_MODES:
        for vector in FIXED_VECTORS[:1] if mode == "fixed" else VECTORS[:2]:
            if mode == "sipi" or vector != VECTORS[1]:
                yield step._replace(mode=mode, vector=vector)
    plain = FIXED_VECTORS[0] if step.mode == "fixed" else VECTORS[0]
    yield step._replace(vector=plain)
