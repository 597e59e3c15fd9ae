"""vCPU states, steps and messages as numbers, and what each step makes of each state.

A step of the model takes tens of microseconds, and campaigns and explorations take the same step
in the same state over and over: with other states of other variants, on other vCPUs. Here each is
computed once. Where all steps of an alphabet are taken in every state, rows of numbers keep that
small and quick.
"""

from array import array
from collections.abc import Sequence
from typing import Final, TypeVar

from fuzz.compare.compared import Compared
from variants.machine.machine import Arrivals, Observation, StepVcpu, VcpuStep, deliver
from variants.machine.step import Step
from variants.machine.vcpu import Irq, VcpuState

NUMBER_BITS: Final = 24
NUMBER: Final = (1 << NUMBER_BITS) - 1
"""The most a vCPU state's number can be."""
OBSERVED_BITS: Final = 24
OBSERVED: Final = (1 << OBSERVED_BITS) - 1
"""The part of a result that numbers what was observed; the vCPU state's number is above it."""

T = TypeVar("T")


class Tables:
    """What is known of the vCPU steps of `compared`.

    vcpus: vCPU states of all variants, by number. steps: the `own_part`s of schedule steps that
    have a number. messages: likewise. armed: arrivals that land in a step, by number; 0 is none.
    observed: what a step showed and whether it wrote the ICR. compared: steps that are looked up.

    alphabet: the steps that whole rows are asked for, if they are.
    """

    def __init__(self, compared: Compared, alphabet: Sequence[Step] = ()) -> None:
        self.steps: list[Step] = []
        self.messages: list[Irq] = []
        self._step_numbers: dict[Step, int] = {}
        self._message_numbers: dict[Irq, int] = {}
        self._uncached = compared.step_vcpus
        looked_up = tuple(self._step_vcpu(member) for member in range(len(compared.names)))
        self.compared = compared._replace(step_vcpus=looked_up)
        for step in alphabet:
            self.step_number(step)
        self._width = len(self.steps)
        self.forget()

    def forget(self) -> None:
        """Free everything that can be computed again; steps and messages keep their numbers."""
        members = range(len(self.compared.names))
        self.vcpus: list[VcpuState] = []
        self.armed: list[Arrivals] = []
        self.observed: list[tuple[Observation, bool]] = []
        self._numbers: dict[VcpuState, int] = {}
        self._armed_numbers: dict[Arrivals, int] = {}
        self._observed_numbers: dict[tuple[Observation, bool], int] = {}
        self._rows: list[dict[int, array[int]]] = [{} for _ in members]
        self._raced: list[dict[int, array[int]]] = [{} for _ in members]
        self._passed: list[dict[int, tuple[str, ...]]] = [{} for _ in members]
        self._passes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._results: list[dict[int, int]] = [{} for _ in members]
        self._received: dict[int, int] = {}
        self.arrivals_number(())

    def number(self, vcpu: VcpuState) -> int:
        """The number of a vCPU state. Raises OverflowError when there are too many."""
        number = numbered(vcpu, self._numbers, self.vcpus)
        if number > NUMBER:
            raise OverflowError(f"more than {NUMBER} vCPU states")
        return number

    def step_number(self, step: Step) -> int:
        """The number of an `own_part`."""
        return numbered(step, self._step_numbers, self.steps)

    def message_number(self, irq: Irq) -> int:
        """The number of a message."""
        return numbered(irq, self._message_numbers, self.messages)

    def arrivals_number(self, arrivals: Arrivals) -> int:
        """The number of messages that land in a step."""
        return numbered(arrivals, self._armed_numbers, self.armed)

    def result(self, member: int, number: int, step: int, arrivals: int = 0) -> int:
        """What the variant `member` makes of a state in a step, by their numbers."""
        row = None if arrivals else self._rows[member].get(number)
        if row is not None and step < self._width:
            return row[step]
        key = (number << 16 | step) << 24 | arrivals
        result = self._results[member].get(key)
        if result is None:
            result = self._results[member][key] = self._compute(member, number, step, arrivals)
        return result

    def row(self, member: int, number: int) -> "array[int]":
        """The results of the whole alphabet."""
        row = self._rows[member].get(number)
        if row is None:
            results = [self._compute(member, number, step, 0) for step in range(self._width)]
            row = self._rows[member][number] = array("Q", results)
        return row

    def raced(
        self, member: int, number: int, step: int, races: Sequence[tuple[str, int]]
    ) -> "array[int]":
        """The results of the step with a message landing inside, for each point and message number
        of `races`, always the same. Where the step does not pass the point it comes afterwards."""
        key = number << 16 | step
        row = self._raced[member].get(key)
        if row is None:
            calm, passed = self.result(member, number, step), self.passed(member, number, step)
            row = array("Q")
            for point, message in races:
                if point in passed:
                    armed = self.arrivals_number(((point, self.messages[message]),))
                    row.append(self._compute(member, number, step, armed))
                else:
                    after = self.received(calm >> OBSERVED_BITS, message)
                    row.append(after << OBSERVED_BITS | calm & OBSERVED)
            self._raced[member][key] = row
        return row

    def passed(self, member: int, number: int, step: int) -> tuple[str, ...]:
        """The preemption points that the step passes, in order."""
        key = number << 16 | step
        passed = self._passed[member].get(key)
        if passed is None:
            passed = self._uncached[member](self.vcpus[number], self.steps[step], ()).passed
            passed = self._passed[member][key] = self._passes.setdefault(passed, passed)
        return passed

    def received(self, number: int, message: int) -> int:
        """The state after a message has reached the local APIC."""
        key = number << 16 | message
        after = self._received.get(key)
        if after is None:
            after = self.number(deliver(self.vcpus[number], self.messages[message]))
            self._received[key] = after
        return after

    def _compute(self, member: int, number: int, step: int, arrivals: int) -> int:
        taken = self._uncached[member](self.vcpus[number], self.steps[step], self.armed[arrivals])
        showed = (taken.observation, taken.sent)
        seen = numbered(showed, self._observed_numbers, self.observed)
        return self.number(taken.vcpu) << OBSERVED_BITS | seen

    def _step_vcpu(self, member: int) -> StepVcpu:
        def step_vcpu(state: VcpuState, step: Step, arrivals: Arrivals) -> VcpuStep:
            armed = self.arrivals_number(arrivals)
            result = self.result(member, self.number(state), self.step_number(step), armed)
            observation, sent = self.observed[result & OBSERVED]
            return VcpuStep(self.vcpus[result >> OBSERVED_BITS], observation, sent, ())

        return step_vcpu


def numbered(value: T, numbers: dict[T, int], values: list[T]) -> int:
    """The number of `value`, which gets the next one if it has none."""
    number = numbers.get(value)
    if number is None:
        number = numbers[value] = len(values)
        values.append(value)
    return number
