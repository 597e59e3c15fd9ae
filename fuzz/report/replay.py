"""Replay: every variant's whole trace of a schedule, and where they diverge."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fuzz.compare.compared import compared
from fuzz.compare.signature import Divergence
from fuzz.compare.traces import Split, Traces, trace_of, traces_json
from fuzz.memory.automaton import Automaton
from fuzz.report.inside import Held, held_of
from fuzz.schedule.schedule import Schedule
from variants.machine.step import Vendor
from variants.variant import Variant


class Replay(NamedTuple):
    """What `schedule` does. divergences: step number and divergence, in order. held: what the
    models hold of the vCPUs, by variant."""

    schedule: Schedule
    traces: Traces
    divergences: Sequence[tuple[int, Divergence]]
    held: Mapping[str, Held]

    @property
    def splits(self) -> list[Split]:
        return [Split(step, divergence.groups) for step, divergence in self.divergences]


def automaton_of(vendor: Vendor, variants: Sequence[Variant]) -> Automaton:
    """An automaton that compares `variants`, the first being the base."""
    return Automaton(compared(vendor, variants))


def replay(automaton: Automaton, schedule: Schedule) -> Replay:
    """Run `schedule` through every variant of `automaton`."""
    names, machines = automaton.compared.names, automaton.compared.machines
    named = dict(zip(names, machines, strict=True))
    traces = {name: trace_of(machine, schedule) for name, machine in named.items()}
    held = {name: held_of(machine, schedule) for name, machine in named.items()}
    return Replay(schedule, traces, automaton.compare(schedule), held)


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
