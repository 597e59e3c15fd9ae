"""Races on the models: what a message shows at each preemption point, held against real KVM."""

from collections.abc import Mapping
from typing import NamedTuple

from fuzz.compare.traces import Trace, trace_of
from fuzz.live.landings import Race, landing_at
from fuzz.live.races import Told
from variants.machine.machine import Machine, initial_state
from variants.machine.machine import step as take_step
from variants.machine.points import POINTS

Points = Mapping[Trace, tuple[str, ...]]
"""What a model shows, and the preemption points at which a message has to land for that."""


def points_of(race: Race, machine: Machine) -> Points:
    """A race on a model: before the step, at each point, after it. A point that the step does not
    pass shows what comes after, and is left out."""

    def shows(at: str) -> Trace:
        return trace_of(machine, landing_at(race, at))

    passed_by = passing(race, machine)
    found: dict[Trace, tuple[str, ...]] = {shows(""): ("before",)}
    for at in (*(point for point in POINTS if point in passed_by), "after"):
        outcome = shows(at)
        found[outcome] = (*found.get(outcome, ()), at)
    return found


def passing(race: Race, machine: Machine) -> tuple[str, ...]:
    """The preemption points that the race's step passes while no message has landed."""
    steps = landing_at(race, "after").steps
    state = initial_state(race.schedule.vcpus)
    for step in steps[: race.step]:
        state, _ = take_step(machine, state, step)
    arrivals = tuple((at, irq) for to, at, irq in state.armed if to == steps[race.step].on)
    taken = machine.step_vcpu(state.vcpus[steps[race.step].on], steps[race.step], arrivals)
    return taken.passed


class Agreement(NamedTuple):
    """How far model and build agree in races: of the landings, those that show what the model
    shows at some point; of the model's outcomes, those that some block shows."""

    landings: int = 0
    modelled: int = 0
    outcomes: int = 0
    seen: int = 0

    def plus(self, told: Told, points: Points) -> "Agreement":
        """With one more race."""
        shown = {part.trace for part in told.intervals}
        return Agreement(
            self.landings + sum(part.landings for part in told.intervals),
            self.modelled + sum(part.landings for part in told.intervals if part.trace in points),
            self.outcomes + len(points),
            self.seen + len(shown & points.keys()),
        )

    def __str__(self) -> str:
        return (
            f"{self.modelled} of {self.landings} landings show what the model shows at some point; "
            f"{self.seen} of the model's {self.outcomes} outcomes are shown"
        )
