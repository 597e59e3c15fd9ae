"""Calls of replaced functions in a run: with what state, to what effect, through which lines."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from types import CodeType, FrameType, FunctionType
from typing import Any, Final, NamedTuple

from fuzz.compare.compared import guarded_machine
from fuzz.findings.mixed import implementation
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import initial_state, step
from variants.machine.vcpu import Irq, Vcpu, VcpuState
from variants.variant import Variant, replaces

IN_STEP: Final = ("l1_lost", "insn", "executed", "warn", "woke", "progressed", "sent")
"""What of a vCPU lasts a step only, and is more than a note on where it has been."""


class Seen(NamedTuple):
    """A vCPU in the middle of a step. armed: what is yet to land in the step."""

    vcpu: VcpuState
    in_step: tuple[object, ...]
    taken: tuple[str, ...]
    armed: tuple[tuple[str, Irq], ...]


class Call(NamedTuple):
    """A call of a function of the machine.

    name: the function's. step: number of the step it is made in. given, gave: arguments, and what
    they and the result are afterwards. inside: calls made in it. lines: those of the function's
    text that ran.
    """

    name: str
    step: int
    given: tuple[object, ...]
    gave: tuple[object, ...]
    inside: tuple["Call", ...]
    lines: frozenset[int]

    @property
    def landed(self) -> tuple[Irq, ...]:
        """The messages that landed in it."""
        before, after = [
            [armed for one in some if isinstance(one, Seen) for armed in one.armed]
            for some in (self.given, self.gave)
        ]
        return tuple(irq for at, irq in before if (at, irq) not in after)


class Open(NamedTuple):
    """A call that has not returned."""

    code: tuple[str, int]
    inside: list[Call]
    lines: set[int]


open_calls: list[Open] = []
"""The calls under way in a watched run, the innermost last. Only one run is watched at a time."""
step_number: list[int] = [0]


def seen(value: object) -> object:
    """An argument or a result, as it is now."""
    if not isinstance(value, Vcpu):
        return value
    in_step = tuple(getattr(value, name) for name in IN_STEP)
    return Seen(value.freeze(), in_step, tuple(value.taken), tuple(value.arrivals))


def code_key(code: CodeType) -> tuple[str, int]:
    """What a function's copies have in common."""
    return code.co_filename, code.co_firstlineno


def watching(target: FunctionType, code: tuple[str, int]) -> Callable[..., Any]:
    """A replacement of `target` that notes its calls. code: of what runs in its place."""
    name = target.__name__  # In `watch` the linker puts another function for `target`.

    @wraps(target)
    def watch(*arguments: Any, **named: Any) -> Any:
        all_given = *arguments, *named.values()
        given = tuple(seen(one) for one in all_given)
        call = Open(code, [], set())
        open_calls.append(call)
        try:
            result = target(*arguments, **named)
        finally:
            open_calls.pop()
        gave = seen(result), *(seen(one) for one in all_given)
        done = Call(name, step_number[0], given, gave, tuple(call.inside), frozenset(call.lines))
        open_calls[-1].inside.append(done)
        return result

    return replaces(target)(watch)


@cache
def watched(variant: Variant, targets: frozenset[FunctionType]) -> Variant:
    """`variant`, with a note of each call of `targets`."""
    codes = {target: code_key(implementation(variant, target).__code__) for target in targets}
    watchers = tuple(watching(target, code) for target, code in codes.items())
    return Variant(f"{variant.name} watched", variant.provenance, watchers, on=variant)


def calls_in(variant: Variant, targets: frozenset[FunctionType], schedule: Schedule) -> list[Call]:
    """The calls of `targets` that `variant` makes in `schedule`, without those inside others.

    Raises StepError and HangError as a variant's steps do.
    """
    machine = guarded_machine(watched(variant, targets), schedule.vendor)
    state = initial_state(schedule.vcpus)
    run = Open(("", 0), [], set())
    open_calls[:] = [run]
    with lines_noted():
        for number, taken in enumerate(schedule.steps):
            step_number[0] = number
            state, _ = step(machine, state, taken)
    return run.inside


@contextmanager
def lines_noted() -> Iterator[None]:
    """Meanwhile note the lines that watched functions run."""

    def in_function(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            open_calls[-1].lines.add(frame.f_lineno - frame.f_code.co_firstlineno)
        return in_function

    def entered(frame: FrameType, _event: str, _argument: object) -> Any:
        known = len(open_calls) > 1 and open_calls[-1].code == code_key(frame.f_code)
        return in_function if known else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        yield
    finally:
        sys.settrace(before)


def names(calls: Sequence[Call]) -> set[str]:
    """The functions that are called, also in other calls."""
    return {one.name for one in calls} | {n for one in calls for n in names(one.inside)}


def first_apart(one: Sequence[Call], other: Sequence[Call]) -> tuple[Call, Call] | None:
    """The first call that both make in the same state and that has another effect: the innermost,
    where calls in it have already. None if there is none."""
    for a, b in zip(one, other, strict=False):
        if (a.name, a.step, a.given) != (b.name, b.step, b.given):
            return None
        if a.gave != b.gave:
            return first_apart(a.inside, b.inside) or (a, b)
    return None
