"""vCPU states, steps and messages as numbers, and what each step makes of each state.

A step of the model takes tens of microseconds, and campaigns and explorations take the same step
in the same state over and over: with other states of other variants, on other vCPUs. Here each is
computed once. Where all steps of an alphabet are taken in every state, rows of numbers keep that
small and quick.
"""

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple, TypeVar, cast

from fuzz.compare.cause import Question, own_answer
from fuzz.compare.compared import Compared, StepError
from fuzz.compare.signature import Answer
from fuzz.memory.numbers import (
    ANSWER_BITS,
    ARRIVALS_BITS,
    MESSAGE_BITS,
    NO_ARRIVALS,
    SEEN_BITS,
    STEP_BITS,
    VCPU_BITS,
    AnswerId,
    ArrivalsId,
    MessageId,
    Numbers,
    Result,
    SeenId,
    StepId,
    VcpuId,
    result_of,
    seen_in,
    vcpu_of,
)
from variants.machine.machine import Arrivals, Machine, VcpuStep
from variants.machine.observation import Observation
from variants.machine.points import POINTS
from variants.machine.step import Step
from variants.machine.vcpu import Irq, VcpuState

Row = Sequence[Result]
"""Results, of all steps of an alphabet or of all races in one step."""

T = TypeVar("T")


class Landing(NamedTuple):
    """Where a message can land: in a step at `point`, `arrivals` being just that, or after it, at
    no point."""

    point: str
    message: MessageId
    arrivals: ArrivalsId


def first_places(values: Iterable[T]) -> dict[T, int]:
    """Each of `values` once, in their order, with the place where it comes first."""
    places: dict[T, int] = {}
    # A loop without bytecode: there are many values, and few that differ.
    deque(map(places.setdefault, values, count()), maxlen=0)
    return places


class Seen(NamedTuple):
    """What a step showed; `sent`: it wrote the ICR."""

    observation: Observation
    sent: bool


class Tables:
    """What is known of the vCPU steps of `compared`, by variant (its index, `member`).

    compared: the variants, their steps looked up here.

    alphabet: the steps that whole rows are asked for, if they are.
    """

    def __init__(self, compared: Compared, alphabet: Sequence[Step] = ()) -> None:
        self._steps = Numbers[Step, StepId]("steps", STEP_BITS)
        self._messages = Numbers[Irq, MessageId]("messages", MESSAGE_BITS)
        self._uncached = compared.machines
        delivers = [machine.deliver for machine in compared.machines]
        self._delivers_as = [delivers.index(deliver) for deliver in delivers]
        looked_up = tuple(self._machine(member) for member in range(len(compared.names)))
        self.compared = replace(compared, machines=looked_up)
        self._alphabet = [self._steps.of(step) for step in alphabet]
        self.forget()

    def forget(self) -> None:
        """Free everything that can be computed again; steps and messages keep their numbers."""
        members = range(len(self.compared.names))
        self._vcpus = Numbers[VcpuState, VcpuId]("vCPU states", VCPU_BITS)
        self._armed = Numbers[Arrivals, ArrivalsId]("arrivals", ARRIVALS_BITS)
        self._seen = Numbers[Seen, SeenId]("observations", SEEN_BITS)
        self._rows: list[dict[VcpuId, Row]] = [{} for _ in members]
        self._landed: list[dict[int, Row]] = [{} for _ in members]
        self._passed: list[dict[int, tuple[str, ...]]] = [{} for _ in members]
        self._passes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._answers = Numbers[Answer | None, AnswerId]("answers", ANSWER_BITS)
        self._own_answers: dict[tuple[int, ...], AnswerId] = {}
        self._results: list[dict[int, Result]] = [{} for _ in members]
        received: list[dict[int, VcpuId]] = [{} for _ in members]
        self._received = [received[same] for same in self._delivers_as]
        self.arrivals_id(())

    def vcpu_id(self, vcpu: VcpuState) -> VcpuId:
        """The number of a vCPU state. Like its kin, raises OverflowError if there are too many."""
        return self._vcpus.of(vcpu)

    def step_id(self, step: Step) -> StepId:
        """The number of an `own_part`."""
        return self._steps.of(step)

    def message_id(self, irq: Irq) -> MessageId:
        """The number of a message."""
        return self._messages.of(irq)

    def arrivals_id(self, arrivals: Arrivals) -> ArrivalsId:
        """The number of messages that land in a step."""
        return self._armed.of(arrivals)

    def vcpu(self, vcpu: VcpuId) -> VcpuState:
        """The vCPU state of a number."""
        return self._vcpus.values[vcpu]

    def step(self, step: StepId) -> Step:
        """The `own_part` of a number."""
        return self._steps.values[step]

    def message(self, message: MessageId) -> Irq:
        """The message of a number."""
        return self._messages.values[message]

    def arrivals(self, arrivals: ArrivalsId) -> Arrivals:
        """The messages, with their points, of a number."""
        return self._armed.values[arrivals]

    def sent(self, result: Result) -> bool:
        """Did the step write the ICR?"""
        return self._seen.values[seen_in(result)].sent

    def observation(self, result: Result) -> Observation:
        """What the step showed."""
        return self._seen.values[seen_in(result)].observation

    def result(
        self, member: int, vcpu: VcpuId, step: StepId, arrivals: ArrivalsId = NO_ARRIVALS
    ) -> Result:
        """What a variant makes of a state in a step."""
        row = None if arrivals else self._rows[member].get(vcpu)
        if row is not None and step < len(row):
            return row[step]
        key = (vcpu << STEP_BITS | step) << ARRIVALS_BITS | arrivals
        result = self._results[member].get(key)
        if result is None:
            landing = self.arrivals(arrivals)
            result = self._results[member][key] = self._compute(member, vcpu, step, landing)
        return result

    def row(self, member: int, vcpu: VcpuId) -> Row:
        """The results of the whole alphabet."""
        row = self._rows[member].get(vcpu)
        if row is None:
            results = [self._compute(member, vcpu, step, ()) for step in self._alphabet]
            row = self._rows[member][vcpu] = packed_row(results)
        return row

    def landings(self, points: Iterable[str], messages: Sequence[Irq]) -> list[Landing]:
        """Each of `messages` at each of `points`, for `landed`."""
        numbered = [(irq, self.message_id(irq)) for irq in messages]
        return [
            Landing(point, message, self.arrivals_id(((point, irq),) if point else ()))
            for point in points
            for irq, message in numbered
        ]

    def landed(self, member: int, vcpu: VcpuId, step: StepId, landings: Sequence[Landing]) -> Row:
        """The results of the step with a message at each of `landings`, always the same. Where the
        step does not pass the point the message comes after it."""
        key = vcpu << STEP_BITS | step
        row = self._landed[member].get(key)
        if row is None:
            calm, passed = self.result(member, vcpu, step), self.passed(member, vcpu, step)
            results = []
            for landing in landings:
                if landing.point in passed:
                    arrivals = self.arrivals(landing.arrivals)
                    results.append(self._compute(member, vcpu, step, arrivals))
                else:
                    after = self.received(member, vcpu_of(calm), landing.message)
                    results.append(result_of(after, seen_in(calm)))
            row = self._landed[member][key] = packed_row(results)
        return row

    def passed(self, member: int, vcpu: VcpuId, step: StepId) -> tuple[str, ...]:
        """The preemption points that the step passes, in order."""
        key = vcpu << STEP_BITS | step
        passed = self._passed[member].get(key)
        if passed is None:
            passed = self._uncached[member].step_vcpu(self.vcpu(vcpu), self.step(step), ()).passed
            if unknown := set(passed) - POINTS.keys():
                what = f"no such preemption point: {', '.join(sorted(unknown))}"
                raise StepError(f"variant {self.compared.names[member]}: {what}")
            passed = self._passed[member][key] = self._passes.setdefault(passed, passed)
        return passed

    def own_answer(
        self,
        step: StepId,
        i: int,
        j: int,
        one: VcpuId,
        arrivals: ArrivalsId,
        other: VcpuId,
        others_arrivals: ArrivalsId,
    ) -> AnswerId:
        """`fuzz.compare.cause.own_answer` of variants i and j, each with its state and arrivals."""
        key = (step, i, j, one, arrivals, other, others_arrivals)
        known = self._own_answers.get(key)
        if known is None:
            first, second = [
                Question(
                    self.compared, i, j, self.vcpu(vcpu), self.step(step), self.arrivals(armed)
                )
                for vcpu, armed in ((one, arrivals), (other, others_arrivals))
            ]
            known = self._own_answers[key] = self._answers.of(own_answer(first, second))
        return known

    def received(self, member: int, vcpu: VcpuId, message: MessageId) -> VcpuId:
        """The state after a message has reached the local APIC."""
        known = self._received[member]
        key = vcpu << MESSAGE_BITS | message
        after = known.get(key)
        if after is None:
            deliver = self._uncached[member].deliver
            after = known[key] = self.vcpu_id(deliver(self.vcpu(vcpu), self.message(message)))
        return after

    def _compute(self, member: int, vcpu: VcpuId, step: StepId, arrivals: Arrivals) -> Result:
        taken = self._uncached[member].step_vcpu(self.vcpu(vcpu), self.step(step), arrivals)
        seen = self._seen.of(Seen(taken.observation, taken.sent))
        return result_of(self.vcpu_id(taken.vcpu), seen)

    def _machine(self, member: int) -> Machine:
        def step_vcpu(state: VcpuState, step: Step, arrivals: Arrivals) -> VcpuStep:
            armed = self.arrivals_id(arrivals)
            result = self.result(member, self.vcpu_id(state), self.step_id(step), armed)
            observation, sent = self._seen.values[seen_in(result)]
            return VcpuStep(self.vcpu(vcpu_of(result)), observation, sent, ())

        def deliver(state: VcpuState, irq: Irq) -> VcpuState:
            return self.vcpu(self.received(member, self.vcpu_id(state), self.message_id(irq)))

        return Machine(step_vcpu, deliver)


def packed_row(results: Sequence[Result]) -> Row:
    """`results` in little memory."""
    return cast(Row, array("Q", results))
