"""Why variants differ: what a reviewer would discuss.

A cause is who treats an event differently, which event, and the state it met, in the step that made
the variants differ, however many steps later it shows. It is found by asking what would have been:
from the same state, without the message that raced, with nothing pending.

A `Question` is put to the `RULES` in their order; the first that has an answer gives the cause:

1. `the_step_itself`: with nothing pending and no message landing, the step alone makes the variants
   differ in the same way (or in any way, if it enters L2: all that comes after differs then).
2. `a_calmer_question`: a message that lands in the step need not; the answer is that of the
   question without it, or with it before or after the step.
3. `a_race`: INIT or SIPI lands in the step, and its order matters.
4. `an_event`: what was pending, at an instruction that releases it or in the state that it met.

`tests/test_causes.py` has a schedule for each.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from fuzz.compare.compared import Compared, StepError
from fuzz.compare.signature import ELSEWHERE, Answer, Cause, look, telling
from fuzz.compare.wording import (
    ENTRIES,
    EVENTS,
    PENDING,
    RELEASES,
    context,
    event_of,
    itself,
    left_pending,
    waits_in_l2,
)
from variants.machine.machine import Arrivals, VcpuStep
from variants.machine.step import IOCTL_OPS, Step
from variants.machine.vcpu import Irq, Mp, Vcpu, VcpuState, thaw

IDLE: Final = Step("nop", 0)
REMEMBERED: Final = 1 << 16
"""How many answers to remember: one takes a dozen vCPU steps."""


class Question(NamedTuple):
    """Why do variants i and j, whose vCPUs were alike, differ after a step?

    compared: whose i and j they are. before: the vCPU. arrivals: the messages that land in `step`.
    """

    compared: Compared
    i: int
    j: int
    before: VcpuState
    step: Step
    arrivals: Arrivals

    def end(self, member: int) -> VcpuStep:
        """What a variant makes of the step."""
        return self.compared.machines[member].step_vcpu(self.before, self.step, self.arrivals)

    def ends(self) -> tuple[VcpuStep, VcpuStep]:
        """What i and j make of it."""
        return self.end(self.i), self.end(self.j)

    def everyones_ends(self) -> list[VcpuStep]:
        """What every variant would make of it, even one that has already been told apart: so that
        one bug has one name, whoever is still in the group when it shows."""
        return [self.end(member) for member in range(len(self.compared.machines))]

    def what(self) -> str:
        """The name of the step itself."""
        executed = any(end.observation.executed for end in self.ends())
        return itself(self.step, self.compared.vendor, thaw(self.before), executed)


def arrived(compared: Compared, i: int, j: int, before: VcpuState, irq: Irq) -> Cause:
    """Why a message makes variants i and j differ, whose vCPUs were alike."""
    after = [machine.deliver(before, irq) for machine in compared.machines]
    alike = [[n for n, one in enumerate(after) if one == after[member]] for member in (i, j)]
    event = f"{EVENTS.get(irq.mode, irq.mode)} arriving in {context(compared.vendor, thaw(before))}"
    return Cause(tuple(tuple(compared.names[n] for n in side) for side in sorted(alike)), event)


def own_answer(one: Question, other: Question) -> Answer | None:
    """The answer for what variants i and j show in a step, if the cause lies in that step.

    one, other: the question with the vCPU and the messages of variant i, and with those of j.

    The cause lies in the step if from the state of i, the one nearer to the base, j would have
    shown the same kind of difference. A WARN is about the state it fires in: there it is if from
    the state of the one that warns the other would not.
    """
    if one.before == other.before:
        return answer(one)
    return _own_answer(one, other)


@lru_cache(maxsize=REMEMBERED)
def _own_answer(one: Question, other: Question) -> Answer | None:
    showed = one.end(one.i).observation, other.end(other.j).observation
    told = look(*showed)
    nearer = other if told.kind == "warning" and showed[1].warn else one
    try:
        ends = [end.observation for end in nearer.ends()]
    except StepError:
        return None
    return answer(nearer) if ends[0] != ends[1] and look(*ends) == told else None


@lru_cache(maxsize=REMEMBERED)
def answer(question: Question) -> Answer:
    """The cause, by the first of the `RULES` that has one.

    A variant may raise in a state that it never gets into itself: then it is the step that differs.
    """
    try:
        return answered_by(question)[1]
    except StepError:
        compared = question.compared
        sides = ((compared.names[question.i],), (compared.names[question.j],))
        what = itself(question.step, compared.vendor, thaw(question.before), executed=True)
        return Answer(Cause(sides, what), ELSEWHERE)


def answered_by(question: Question) -> tuple[str, Answer]:
    """The name of the rule that answers, and its answer."""
    for rule in RULES:
        if found := rule(question):
            return rule.__name__, found
    raise AssertionError("the last rule answers everything")


def the_step_itself(question: Question) -> Answer | None:
    """The step, if with nothing pending it alone makes the variants show different things."""
    step = question.step
    if step.op == "icr":
        return None
    alone = question._replace(before=calmed(thaw(question.before), step), arrivals=())
    ends, calm = question.ends(), alone.ends()
    showed = [end.observation for end in ends]
    entered = step.op in ENTRIES and showed[0] != showed[1] and all(one.executed for one in showed)
    differ = calm[0].observation != calm[1].observation
    if not (entered and differ) and difference(*calm) != difference(*ends):
        return None
    return answer_with(question, alone.everyones_ends(), question.what())


def a_calmer_question(question: Question) -> Answer | None:
    """The answer to a question without one of the messages, if that has the same difference."""
    found = calmer(question)
    return answer(found) if found else None


def calmer(question: Question) -> Question | None:
    """A question with one message fewer in the step that is about the same difference.

    The variants may show different things without it, or come to differ in the same way if it comes
    before the step, or after it, or after it and is taken in a step of its own.
    """
    ends = question.ends()
    wanted = difference(*ends)
    shows = ends[0].observation != ends[1].observation
    members = question.i, question.j
    delivers = [question.compared.machines[member].deliver for member in members]
    for n, (_, irq) in enumerate(question.arrivals):
        without = question._replace(arrivals=question.arrivals[:n] + question.arrivals[n + 1 :])
        calm = without.ends()
        if difference(*calm) == wanted or (shows and calm[0].observation != calm[1].observation):
            return without
        received = [deliver(without.before, irq) for deliver in delivers]
        early = without._replace(before=received[0])
        if received[0] == received[1] and difference(*early.ends()) == wanted:
            return early
        one, other = [
            end._replace(vcpu=deliver(end.vcpu, irq))
            for end, deliver in zip(calm, delivers, strict=True)
        ]
        if difference(one, other) == wanted:
            return without
        apart = question._replace(before=one.vcpu, step=IDLE, arrivals=())
        if one == other and difference(*apart.ends()) == wanted:
            return apart
    return None


def a_race(question: Question) -> Answer | None:
    """INIT or SIPI that lands in the step."""
    racing = {irq.mode for _, irq in question.arrivals if irq.mode in PENDING}
    if not racing:
        return None
    what = f"race with {min(racing).upper()}{by_ioctl(question)}"
    return answer_with(question, question.everyones_ends(), what, race=True)


def an_event(question: Question) -> Answer:
    """The event that the vCPU met; the step itself where there is none."""
    vcpu, step = thaw(question.before), question.step
    ends = question.everyones_ends()
    event = event_of(vcpu, step, ends[question.i], ends[question.j])
    executed = any(ends[member].observation.executed for member in (question.i, question.j))
    if not event:
        what = question.what()
    elif event != "SIPI" and step.op in RELEASES and executed and not vcpu.guest_mode:
        what = f"{event} at {step.op}"
    else:
        what = f"{event} in {context(question.compared.vendor, vcpu)}{by_ioctl(question)}"
    return answer_with(question, ends, what)


def by_ioctl(question: Question) -> str:
    """That it takes the ioctl, if the variants do not come to differ so where the vCPU runs:
    neither in the same way, nor in whether INIT or SIPI stays pending."""
    if question.step.op not in IOCTL_OPS:
        return ""
    ran, done = question._replace(step=IDLE).ends(), question.ends()
    kept = [left_pending(one) ^ left_pending(other) for one, other in (ran, done)]
    alike = difference(*ran) == difference(*done) or kept[0] == kept[1] != 0
    return "" if alike else f" at {question.step.op}"


RULES: Final[tuple[Callable[[Question], Answer | None], ...]] = (
    the_step_itself,
    a_calmer_question,
    a_race,
    an_event,
)


def answer_with(
    question: Question, ends: Sequence[VcpuStep], what: str, race: bool = False
) -> Answer:
    """The cause `what`, with the sides that these ends make and how it shows in them."""
    one, other = ends[question.i].observation, ends[question.j].observation
    kind, shows, _ = look(one, other)
    cause = Cause(sides(question, ends), what, race)
    return Answer(cause, shows if kind == "visible" and one != other else ELSEWHERE)


def sides(question: Question, ends: Sequence[VcpuStep]) -> tuple[tuple[str, ...], ...]:
    """Who would do as variant i, and who as j, in what shows or else in what stays pending.

    A variant that would do neither is on no side, nor is one that has no wait-for-SIPI in L2 where
    the vCPU is in that state.
    """
    compared, i, j = question.compared, question.i, question.j
    vcpu = thaw(question.before)
    one, other = ends[i].observation, ends[j].observation
    field = telling(one, other) or ("warn" if one.warn != other.warn else "")
    if field:
        keys: Sequence[object] = [getattr(end.observation, field) for end in ends]
    elif differ := left_pending(ends[i]) ^ left_pending(ends[j]):
        keys = [left_pending(end) & differ for end in ends]
    else:
        keys = [end.vcpu for end in ends]
    able = [n for n, waits in enumerate(compared.l2_waits) if waits or not waits_in_l2(vcpu)]
    members = [[n for n in able if keys[n] == keys[member]] for member in (i, j)]
    return tuple(tuple(compared.names[n] for n in side) for side in sorted(members))


def difference(one: VcpuStep, other: VcpuStep) -> object:
    """How two ends of a step differ: in what shows, or what stays pending, or which fields."""
    if one.observation != other.observation:
        return look(one.observation, other.observation)
    pending = (left_pending(one), left_pending(other))
    if pending[0] != pending[1]:
        return pending
    return [a != b for a, b in zip(one.vcpu, other.vcpu, strict=True)]


def calmed(vcpu: Vcpu, step: Step) -> VcpuState:
    """`vcpu` with nothing pending, and running if `step` is an instruction."""
    return replace(
        vcpu,
        pending_events=0,
        requests=0,
        irr=(),
        smi_pending=False,
        nmi_pending=0,
        nmi_queued=0,
        mp_state=vcpu.mp_state if step.op in IOCTL_OPS else Mp.RUNNABLE,
    ).freeze()
