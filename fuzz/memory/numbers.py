"""Numbers that stand for values, each kind a type of its own: the type checker finds a swap."""

from typing import Final, Generic, NewType, TypeVar, cast

VcpuId = NewType("VcpuId", int)
"""A vCPU's state."""
StepId = NewType("StepId", int)
"""What a schedule step is to the vCPU that takes it (`own_part`)."""
MessageId = NewType("MessageId", int)
"""An interrupt message."""
ArrivalsId = NewType("ArrivalsId", int)
"""The messages that land in a step, each with its point."""
SeenId = NewType("SeenId", int)
"""What a step showed, and whether it wrote the ICR."""
LabelId = NewType("LabelId", int)
"""What a joint vCPU is apart from its states."""
JointId = NewType("JointId", int)
"""A joint vCPU: its label above the states of the variants (`fuzz.memory.packed`)."""
AnswerId = NewType("AnswerId", int)
"""Why variants differ in a step, if the cause lies there."""
Result = NewType("Result", int)
"""What a step makes of a vCPU: the state after it above what it showed."""

NO_ARRIVALS: Final = ArrivalsId(0)

VCPU_BITS: Final = 24
VCPU_MASK: Final = (1 << VCPU_BITS) - 1
STEP_BITS: Final = 16
ARRIVALS_BITS: Final = 24
SEEN_BITS: Final = 24
SEEN_MASK: Final = (1 << SEEN_BITS) - 1
MESSAGE_BITS: Final = 16
LABEL_BITS: Final = 24
ANSWER_BITS: Final = 24
"""How wide a number of each kind is where several are packed into one."""

T = TypeVar("T")
N = TypeVar("N", bound=int)


class Numbers(Generic[T, N]):
    """Gives equal values one number, from 0. values: by number."""

    def __init__(self, what: str, bits: int) -> None:
        """what: the values in a word or two. bits: how wide a number may get."""
        self.values: list[T] = []
        self._what = what
        self._most = 1 << bits
        self._numbers: dict[T, N] = {}

    def of(self, value: T) -> N:
        """The number of `value`. Raises OverflowError if there are too many values."""
        number = self._numbers.get(value)
        if number is None:
            if len(self.values) == self._most:
                raise OverflowError(f"more than {self._most} {self._what}")
            number = self._numbers[value] = cast(N, len(self.values))
            self.values.append(value)
        return number


def vcpu_of(result: Result) -> VcpuId:
    """The vCPU state that a step leads to."""
    return cast(VcpuId, result >> SEEN_BITS)


def seen_in(result: Result) -> SeenId:
    """What a step showed."""
    return cast(SeenId, result & SEEN_MASK)


def result_of(vcpu: VcpuId, seen: SeenId) -> Result:
    """What a step makes of a vCPU."""
    return cast(Result, vcpu << SEEN_BITS | seen)
