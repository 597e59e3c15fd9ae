"""Replay: every variant's whole trace of a schedule, and where they diverge."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fuzz.compare.compared import compared
from fuzz.compare.signature import Divergence
from fuzz.compare.traces import Traces, trace_of, traces_json
from fuzz.memory.automaton import Automaton
from fuzz.schedule.schedule import Schedule
from variants.machine.step import Vendor
from variants.variant import Variant


class Replay(NamedTuple):
    """What `schedule` does. divergences: step number and divergence, in order."""

    schedule: Schedule
    traces: Traces
    divergences: Sequence[tuple[int, Divergence]]


def automaton_of(vendor: Vendor, variants: Sequence[Variant]) -> Automaton:
    """An automaton that compares `variants`, the first being the base."""
    return Automaton(compared(vendor, variants))


def replay(automaton: Automaton, schedule: Schedule) -> Replay:
    """Run `schedule` through every variant of `automaton`."""
    names, machines = automaton.compared.names, automaton.compared.machines
    traces = {
        name: trace_of(machine, schedule) for name, machine in zip(names, machines, strict=True)
    }
    return Replay(schedule, traces, automaton.compare(schedule))


def replay_json(result: Replay) -> dict[str, Any]:
    """What `eventdiff replay --json` prints."""
    return {
        "schedule": result.schedule.name,
        "vendor": result.schedule.vendor,
        "traces": traces_json(result.traces),
        "divergences": [
            {
                "step": number,
                "kind": divergence.kind,
                "signature": str(divergence.signature),
                "groups": [list(group) for group in divergence.groups],
            }
            for number, divergence in result.divergences
        ],
    }
