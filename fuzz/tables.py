"""vCPU states as numbers, and what each step makes of them, computed once.

An exploration takes each step of the alphabet in each state of each variant many times: with
other states of the other variants. Rows of numbers keep that small and quick.
"""

from array import array
from typing import Final

from fuzz.alphabet import Alphabet
from fuzz.compared import Compared
from variants.machine.machine import Arrivals, Observation, StepVcpu, VcpuStep, deliver
from variants.machine.step import Step
from variants.machine.vcpu import VcpuState

OBSERVED_BITS: Final = 24
OBSERVED: Final = (1 << OBSERVED_BITS) - 1
"""The part of a result that numbers the observation; the vCPU state's number is above it."""


class Tables:
    """The memory of an exploration of `compared` with `alphabet`.

    vcpus: vCPU states by number, of all variants. compared: steps that come from the rows.
    """

    def __init__(self, compared: Compared, alphabet: Alphabet) -> None:
        self.alphabet = alphabet
        self.vcpus: list[VcpuState] = []
        self._uncached = compared.step_vcpus
        self._numbers: dict[VcpuState, int] = {}
        self._observations: list[Observation] = []
        self._observed: dict[Observation, int] = {}
        self._rows: list[dict[int, array[int]]] = [{} for _ in compared.names]
        self._passed: list[dict[int, tuple[tuple[str, ...], ...]]] = [{} for _ in compared.names]
        self._passes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._races: list[dict[tuple[int, int, str, int], int]] = [{} for _ in compared.names]
        self._received: dict[int, array[int]] = {}
        self._step_numbers = {step: number for number, step in enumerate(alphabet.steps)}
        steps = tuple(self._step_vcpu(member) for member in range(len(compared.names)))
        self.compared = compared._replace(step_vcpus=steps)

    def number(self, vcpu: VcpuState) -> int:
        """The number of a vCPU state."""
        number = self._numbers.setdefault(vcpu, len(self.vcpus))
        if number == len(self.vcpus):
            self.vcpus.append(vcpu)
        return number

    def row(self, member: int, number: int) -> "array[int]":
        """The results of each step in a state, under the variant `member`."""
        row = self._rows[member].get(number)
        if row is None:
            row = self._rows[member][number] = array("Q")
            passed = []
            for step in self.alphabet.steps:
                done = self._uncached[member](self.vcpus[number], step, ())
                row.append(self._result(done))
                passed.append(self._passes.setdefault(done.passed, done.passed))
            if self.alphabet.points:
                self._passed[member][number] = tuple(passed)
        return row

    def passed(self, member: int, number: int) -> tuple[tuple[str, ...], ...]:
        """The preemption points that each step passes."""
        self.row(member, number)
        return self._passed[member][number]

    def race(self, member: int, number: int, action: int, point: str, message: int) -> int:
        """The result of step number `action` with message number `message` landing inside."""
        key = (number, action, point, message)
        result = self._races[member].get(key)
        if result is None:
            step, irq = self.alphabet.steps[action], self.alphabet.messages[message]
            done = self._uncached[member](self.vcpus[number], step, ((point, irq),))
            result = self._races[member][key] = self._result(done)
        return result

    def received(self, number: int) -> "array[int]":
        """The numbers of the states that each message makes of a state."""
        row = self._received.get(number)
        if row is None:
            vcpu = self.vcpus[number]
            after = [self.number(deliver(vcpu, irq)) for irq in self.alphabet.messages]
            row = self._received[number] = array("L", after)
        return row

    def _result(self, done: VcpuStep) -> int:
        seen = self._observed.setdefault(done.observation, len(self._observations))
        if seen == len(self._observations):
            self._observations.append(done.observation)
        return self.number(done.vcpu) << OBSERVED_BITS | seen

    def _step_vcpu(self, member: int) -> StepVcpu:
        def step_vcpu(state: VcpuState, step: Step, arrivals: Arrivals) -> VcpuStep:
            number, action = self.number(state), self._step_numbers[step]
            if arrivals:
                ((point, irq),) = arrivals
                message = self.alphabet.messages.index(irq)
                result = self.race(member, number, action, point, message)
            else:
                result = self.row(member, number)[action]
            after = self.vcpus[result >> OBSERVED_BITS]
            return VcpuStep(after, self._observations[result & OBSERVED], False, ())

        return step_vcpu
