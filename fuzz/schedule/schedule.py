"""A schedule: the fuzz input, and what makes a step valid in one."""

from typing import Final, NamedTuple
from unicodedata import category

from variants.machine.step import (
    MAX_VCPUS,
    MIN_VCPUS,
    TO_ALL,
    TO_OTHERS,
    TO_SELF,
    Step,
    Vendor,
    ops_of,
    targets,
)

MAX_STEPS: Final = 4000
MIN_FIXED_VECTOR = 0x20
"""Smaller vectors are the processor's exceptions; the guest has no handlers for them."""

NO_TEXT: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Characters that a terminal may obey or no encoding has: control and format, lone surrogates, line
and paragraph separators. Unicode's categories."""


BLOCK: Final = "block:"
"""How `at` begins that is no point of the models': then the number of a basic block comes, of
those that the target's next step reaches in an instrumented KVM."""


class ScheduleError(Exception):
    """Bad input: one line that says what is wrong and where."""


class Schedule(NamedTuple):
    """A vendor, a number of vCPUs and a list of steps, with a name and a line about it."""

    vendor: Vendor
    vcpus: int
    steps: tuple[Step, ...]
    name: str = ""
    about: str = ""


def printable(text: str) -> str:
    """`text` as one line that a terminal only prints: all other characters escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def text_problem(text: str) -> str | None:
    """What is wrong with `text` as a name or as a line about a schedule, if anything."""
    wrong = next((char for char in text if category(char) in NO_TEXT), None)
    return None if wrong is None else f"holds {wrong!r}, expected one line of text"


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
    """Raise ScheduleError unless every step is valid, and name and about are."""
    if not MIN_VCPUS <= schedule.vcpus <= MAX_VCPUS:
        raise ScheduleError(f"{schedule.vcpus} vCPUs, expected {MIN_VCPUS} to {MAX_VCPUS}")
    if len(schedule.steps) > MAX_STEPS:
        raise ScheduleError(f"{len(schedule.steps)} steps, expected {MAX_STEPS} at most")
    for key, text in (("name", schedule.name), ("about", schedule.about)):
        if problem := text_problem(text):
            raise ScheduleError(f"{key} {problem}")
    for number, step in enumerate(schedule.steps):
        if problem := step_problem(step, schedule.vendor, schedule.vcpus):
            raise ScheduleError(f"step {number}: {problem}")


def races(schedule: Schedule) -> bool:
    """Has the schedule `at` steps? Models run these, or instrumented builds of real KVM."""
    return any(step.at for step in schedule.steps)


def block_of(at: str) -> int | None:
    """The basic block that `at` names; None if it is a point of the models'."""
    return int(at.removeprefix(BLOCK)) if at.startswith(BLOCK) else None


def seen_by(schedule: Schedule, vcpu: int) -> Schedule:
    """What a vCPU does and what is sent to it, by whoever may send it then."""
    seen = (
        step
        for step in schedule.steps
        if step.on == vcpu or (step.op == "icr" and vcpu in targets(step, schedule.vcpus))
    )
    return schedule._replace(steps=tuple(seen))


def own_part(step: Step) -> Step:
    """What `step` is to the vCPU that takes it: no numbers, and of a message only its own copy."""
    if step.op != "icr":
        return step._replace(on=0)
    if step.to in (TO_SELF, TO_ALL, step.on):
        return Step("icr", 0, TO_SELF, step.mode, step.vector)
    return Step("icr", 0, TO_OTHERS)
