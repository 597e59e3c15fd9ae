"""A schedule: the fuzz input, and what makes a step valid in one."""

from typing import NamedTuple

from variants.machine.step import (
    MAX_VCPUS,
    MIN_VCPUS,
    TO_ALL,
    TO_OTHERS,
    TO_SELF,
    Step,
    Vendor,
    ops_of,
)

MIN_FIXED_VECTOR = 0x20
"""Smaller vectors are the processor's exceptions; the guest has no handlers for them."""


class ScheduleError(Exception):
    """Bad input: one line that says what is wrong and where."""


class Schedule(NamedTuple):
    """A vendor, a number of vCPUs and a list of steps, with a name and a line about it."""

    vendor: Vendor
    vcpus: int
    steps: tuple[Step, ...]
    name: str = ""
    about: str = ""


def step_problem(step: Step, vendor: Vendor, vcpus: int) -> str | None:
    """What is wrong with `step` in a schedule for `vendor` with `vcpus` vCPUs, if anything."""
    if step.op not in ops_of(vendor):
        return f"{step.op} is not a step for {vendor}"
    if not 0 <= step.on < vcpus:
        return f"vCPU {step.on} out of range, there are {vcpus}"
    if step.op == "icr" and step.to >= vcpus:
        return f"vCPU {step.to} out of range, there are {vcpus}"
    if step.mode == "fixed" and step.vector < MIN_FIXED_VECTOR:
        return f"fixed vector {step.vector:#04x}, expected {MIN_FIXED_VECTOR:#x} to 0xff"
    return None


def check(schedule: Schedule) -> None:
    """Raise ScheduleError unless every step is valid."""
    if not MIN_VCPUS <= schedule.vcpus <= MAX_VCPUS:
        raise ScheduleError(f"{schedule.vcpus} vCPUs, expected {MIN_VCPUS} to {MAX_VCPUS}")
    for number, step in enumerate(schedule.steps):
        if problem := step_problem(step, schedule.vendor, schedule.vcpus):
            raise ScheduleError(f"step {number}: {problem}")


def races(schedule: Schedule) -> bool:
    """Has the schedule `at` steps? Only models run these."""
    return any(step.at for step in schedule.steps)


def own_part(step: Step) -> Step:
    """What `step` is to the vCPU that takes it: no numbers, and of a message only its own copy."""
    if step.op != "icr":
        return step._replace(on=0)
    if step.to in (TO_SELF, TO_ALL, step.on):
        return Step("icr", 0, TO_SELF, step.mode, step.vector)
    return Step("icr", 0, TO_OTHERS)
