"""Comparing as it is defined: every variant runs the whole VM, step by step, without memory.

The second opinion on `fuzz.compare.joint` and `fuzz.memory`, which take VMs apart and remember,
and the yardstick for their speed. It names nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fuzz.compare.compared import Compared, Group
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import State, initial_state, step
from variants.machine.observation import Observation
from variants.machine.step import Step


class Vms(NamedTuple):
    """groups: those with two members or more. states: a VM per variant, None once alone."""

    groups: tuple[Group, ...]
    states: tuple[State | None, ...]

    def state(self, member: int) -> State:
        """The VM of a variant that is still compared."""
        state = self.states[member]
        assert state is not None
        return state


def start(compared: Compared, vcpus: int) -> Vms:
    """All variants in one group."""
    count = len(compared.names)
    return Vms((tuple(range(count)),) if count > 1 else (), (initial_state(vcpus),) * count)


def take(compared: Compared, before: Vms, taken: Step) -> tuple[Vms, list[list[Group]]]:
    """The VMs after `taken`, and the parts of each group that it splits."""
    states: list[State | None] = [None] * len(before.states)
    splits, groups = [], []
    for group in before.groups:
        parts: dict[Observation, Group] = {}
        for member in group:
            machine = compared.machines[member]
            states[member], observed = step(machine, before.state(member), taken)
            parts[observed] = (*parts.get(observed, ()), member)
        if len(parts) > 1:
            splits.append(list(parts.values()))
        for part in parts.values():
            if len(part) > 1:
                groups.append(part)
            else:
                states[part[0]] = None
    return Vms(tuple(groups), tuple(states)), splits


def latent(vms: Vms) -> Iterator[list[Group]]:
    """The parts of each group whose members are unequal inside."""
    for group in vms.groups:
        parts: dict[object, Group] = {}
        for member in group:
            vcpus = vms.state(member).vcpus
            parts[vcpus] = (*parts.get(vcpus, ()), member)
        if len(parts) > 1:
            yield list(parts.values())


def compare(compared: Compared, schedule: Schedule) -> list[tuple[int, tuple[Group, ...]]]:
    """The splits of `schedule` with their step numbers; latent ones at the last step."""
    vms, found = start(compared, schedule.vcpus), []
    for number, taken in enumerate(schedule.steps):
        vms, splits = take(compared, vms, taken)
        found += [(number, tuple(parts)) for parts in splits]
        if not vms.groups:
            break
    return found + [(len(schedule.steps) - 1, tuple(parts)) for parts in latent(vms)]
