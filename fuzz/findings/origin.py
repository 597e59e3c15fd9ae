"""Where a divergence comes from: the functions responsible, and the call that first differs.

The functions are asked for: variants are made that have some functions of one side and the rest of
the other (`fuzz.findings.mixed`), and run. Of the calls that these functions get, the first that
has another effect in the same state is where the variants come to differ, in however many forms
that shows later.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType
from typing import Final, NamedTuple

from fuzz.compare.compared import StepError, guarded_machine
from fuzz.compare.signature import Form
from fuzz.compare.watch import HangError
from fuzz.findings.calls import Call, calls_in, first_apart, names
from fuzz.findings.lines import Hunks, hunks_run
from fuzz.findings.mixed import Pair, apart_in, chain_of, implementation, mixed
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import State, initial_state, step
from variants.machine.observation import Observation
from variants.variant import LinkError, Variant

UNUSABLE: Final = (StepError, HangError, LinkError)
"""What a mixture of two variants may raise that neither does itself."""


class End(NamedTuple):
    """How a schedule ends for a variant: what the last step shows, and the VM."""

    observation: Observation
    state: State


class Origin(NamedTuple):
    """Where a divergence comes from.

    pair: the two variants asked about. functions: those responsible. deviating: which variants have
        the code that makes the difference. reference, deviant: the call that first differs, as the
        others make it and as they do; None if there is none, as in code that is not called by name.
    hunks: the places of that code which ran. raced: a message landed in the call. shown: what the
        others and what they show in the last step; None for a variant that does not get there.
    """

    pair: Pair
    functions: tuple[FunctionType, ...]
    deviating: tuple[str, ...]
    reference: Call | None
    deviant: Call | None
    hunks: Hunks
    raced: bool
    shown: tuple[Observation | None, Observation | None]

    @property
    def key(self) -> object:
        """What divergences of one cause have in common."""
        if self.deviant is None:
            return self.functions, self.deviating
        return self.deviant.name, self.deviating, self.raced or self.hunks


@cache
def end_of(variant: Variant, schedule: Schedule) -> End | None:
    """How `schedule` ends; None if the variant does not get there."""
    try:
        machine, state = guarded_machine(variant, schedule.vendor), initial_state(schedule.vcpus)
        for taken in schedule.steps:
            state, observation = step(machine, state, taken)
    except UNUSABLE:
        return None
    return End(observation, state)


def observed(variant: Variant, schedule: Schedule) -> Observation | None:
    """What the last step shows; None if the variant does not get there."""
    end = end_of(variant, schedule)
    return end.observation if end else None


def pair_of(variants: Sequence[Variant], form: Form) -> Pair:
    """The first variant of each of the first two parts."""
    known = {variant.name: variant for variant in variants}
    one, other = [known[part[0]] for part in form.divergence.groups[:2]]
    return Pair(one, other)


def responsible(pair: Pair, form: Form) -> tuple[FunctionType, ...]:
    """The functions without which the divergence is gone, and those with which alone it shows.

    Both are as few as dropping one after the other leaves; mostly they are the same.
    """
    ends = [end_of(variant, form.schedule) for variant in pair]
    every = frozenset(called(pair, form.schedule))

    def ends_as(functions: frozenset[FunctionType], end: End | None) -> bool:
        return alike(end_of(mixed(pair, functions), form.schedule), end, form)

    needed = fewest(every, lambda some: ends_as(every - some, ends[0]))
    enough = fewest(every, lambda some: ends_as(some, ends[1]))
    return tuple(one for one in apart_in(pair) if one in needed | enough)


def called(pair: Pair, schedule: Schedule) -> tuple[FunctionType, ...]:
    """The functions that the two do not have alike and call in `schedule`: what is not called makes
    no difference."""
    apart = apart_in(pair)
    try:
        known = [names(calls_in(one, frozenset(apart), schedule)) for one in pair]
    except UNUSABLE:
        return apart
    return tuple(one for one in apart if any(one.__name__ in some for some in known))


def fewest(
    every: frozenset[FunctionType], will_do: Callable[[frozenset[FunctionType]], bool]
) -> frozenset[FunctionType]:
    """`every` with what can be dropped one by one dropped."""
    left = every
    for one in sorted(every, key=lambda function: function.__name__):
        if will_do(left - {one}):
            left -= {one}
    return left


def alike(one: End | None, other: End | None, form: Form) -> bool:
    """Do two variants end alike, as far as a divergence is concerned?"""
    if one is None or other is None:
        return one is other
    if form.divergence.kind == "latent":
        return one.state == other.state
    if form.divergence.kind == "warning":
        return one.observation.warn == other.observation.warn
    return one.observation == other.observation


@cache
def origin_of(variants: tuple[Variant, ...], form: Form) -> Origin:
    """Where the divergence of `form` comes from. variants: those compared, the base first."""
    pair = pair_of(variants, form)
    functions = responsible(pair, form)
    calls = parting(pair, functions, form.schedule)
    if calls is None:
        shown = observed(pair.one, form.schedule), observed(pair.other, form.schedule)
        return Origin(pair, functions, (pair.other.name,), None, None, frozenset(), False, shown)
    target = next(one for one in functions if one.__name__ == calls[0].name)
    keeps, deviates = pair
    reference, deviant = calls
    if other_way_round(variants[0], pair, target, form):
        keeps, deviates, reference, deviant = deviates, keeps, deviant, reference
    chain = chain_of(deviates, target)
    deviating = tuple(one.name for one in variants if chain_of(one, target) == chain)
    base, changed = implementation(variants[0], target), implementation(deviates, target)
    of_base = implementation(keeps, target) is base
    hunks = hunks_run(base, changed, deviant.lines, reference.lines if of_base else frozenset())
    raced = bool(reference.landed or deviant.landed)
    shown = observed(keeps, form.schedule), observed(deviates, form.schedule)
    return Origin(pair, functions, deviating, reference, deviant, hunks, raced, shown)


def parting(
    pair: Pair, functions: Sequence[FunctionType], schedule: Schedule
) -> tuple[Call, Call] | None:
    """The first call of `functions` with another effect in a variant that has only them."""
    some = frozenset(functions)
    try:
        return first_apart(
            calls_in(pair.one, some, schedule), calls_in(mixed(pair, some), some, schedule)
        )
    except UNUSABLE:
        return None


def other_way_round(base: Variant, pair: Pair, target: FunctionType, form: Form) -> bool:
    """Is it `pair.one` whose code for `target` makes the difference?"""
    if chain_of(pair.one, target) == chain_of(base, target):
        return False
    if chain_of(pair.other, target) == chain_of(base, target):
        return True
    without = mixed(Pair(pair.one, base), frozenset({target}))
    return alike(end_of(without, form.schedule), end_of(pair.other, form.schedule), form)
