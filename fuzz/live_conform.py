"""Models against real KVM: the same schedules on both, step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from fuzz.automaton import Automaton
from fuzz.replay import observation_json, replay
from fuzz.schedule import Schedule
from fuzz.schedule_yaml import dump

Trace = Sequence[Mapping[str, Any]]


@dataclass
class Disagreement:
    """The first step of a schedule in which model and live KVM differ, and in which fields."""

    schedule: Schedule
    variant: str
    step: int
    fields: list[str]
    model: Trace
    live: Trace


@dataclass
class Tally:
    """Agreement of one vendor and variant: steps up to a schedule's first disagreement count."""

    steps: int = 0
    agree: int = 0
    schedules: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)


RACES: Final = "races (`at`) run on models only"


def plain(schedule: Schedule) -> dict[str, Any]:
    """The plain data of a schedule, as the live runner takes it."""
    data: dict[str, Any] = yaml.safe_load(dump(schedule))
    return data


def races(schedule: Schedule) -> bool:
    return any(step.at for step in schedule.steps)


def model_traces(automaton: Automaton, schedule: Schedule) -> dict[str, Trace]:
    return {
        name: [observation_json(number, one) for number, one in enumerate(trace)]
        for name, trace in replay(automaton, schedule).traces.items()
    }


def compare(schedule: Schedule, variant: str, model: Trace, live: Trace, tally: Tally) -> None:
    """Count the steps on which both agree. After the first difference the two are in different
    states, so the rest of the schedule counts as disagreement too."""
    tally.schedules += 1
    tally.steps += len(model)
    for number, wanted in enumerate(model):
        seen = live[number] if number < len(live) else {}
        differ = [name for name, value in wanted.items() if seen.get(name) != value]
        if differ:
            tally.disagreements.append(Disagreement(schedule, variant, number, differ, model, live))
            return
        tally.agree += 1
