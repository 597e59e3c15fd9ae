"""Traces: what a variant showed step by step, on a model or on real KVM, and where traces part."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fuzz.compare.joint import parted
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import Machine, initial_state
from variants.machine.machine import step as take_step
from variants.machine.observation import NestedExit, Observation

Trace = tuple[Observation, ...]
Traces = Mapping[str, Trace]
"""By variant."""


class Split(NamedTuple):
    """A step after which variants that were alike no longer are, and who agrees with whom."""

    step: int
    groups: tuple[tuple[str, ...], ...]


def trace_of(machine: Machine, schedule: Schedule) -> Trace:
    """What a variant's model shows in `schedule`, step by step."""
    state, shown = initial_state(schedule.vcpus), []
    for taken in schedule.steps:
        state, observation = take_step(machine, state, taken)
        shown.append(observation)
    return tuple(shown)


def splits(traces: Traces) -> list[Split]:
    """Where the variants part, as `fuzz.compare.joint` has it, without what is hidden.

    A variant whose trace has ended is in no group from there on.
    """
    groups: list[tuple[str, ...]] = [tuple(traces)]
    found = []
    for step in range(max(map(len, traces.values()), default=0)):
        left = []
        for group in groups:
            going_on = [name for name in group if step < len(traces[name])]
            shown = {name: traces[name][step] for name in going_on}
            parts = parted(going_on, shown.__getitem__)
            if len(parts) > 1:
                found.append(Split(step, tuple(parts)))
            left += [part for part in parts if len(part) > 1]
        groups = left
    return found


def first_difference(model: Trace, live: Trace) -> int | None:
    """The first step in which two traces differ; None if none does, as far as both go."""
    pairs = enumerate(zip(model, live, strict=False))
    return next((step for step, (one, other) in pairs if one != other), None)


def differing(one: Observation, other: Observation) -> list[str]:
    """The fields in which two observations differ."""
    return [name for name in Observation._fields if getattr(one, name) != getattr(other, name)]


def observation_json(number: int, observation: Observation) -> dict[str, Any]:
    """An observation as `replay --json` has it."""
    fields: dict[str, Any] = {"step": number, **observation._asdict()}
    nested_exit = observation.nested_exit
    if nested_exit is not None:
        fields["nested_exit"] = nested_exit._asdict()
        if not nested_exit.activity:
            del fields["nested_exit"]["activity"]
    fields["taken"] = list(observation.taken)
    return fields


def observation_of(fields: Mapping[str, Any]) -> Observation:
    """The observation that `observation_json`, or a live run, has as `fields`."""
    known = {name: fields[name] for name in Observation._fields}
    if known["nested_exit"] is not None:
        known["nested_exit"] = NestedExit(**{"activity": "", **known["nested_exit"]})
    known["taken"] = tuple(known["taken"])
    return Observation(**known)


def traces_json(traces: Traces) -> dict[str, list[dict[str, Any]]]:
    """The `traces` of `replay --json`."""
    return {
        name: [observation_json(number, one) for number, one in enumerate(trace)]
        for name, trace in traces.items()
    }
