"""A joint vCPU as a node: a dict from what happens to it to the node that follows.

A VM is a list of nodes, one per vCPU, and `walk` lets it take a step: what was once computed costs
one look-up.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from fuzz.compare.compared import Group
from fuzz.compare.signature import Divergence
from fuzz.memory.numbers import ArrivalsId, JointId, MessageId, StepId

SETTLE: Final = StepId(-1)
"""In place of a step: another vCPU acts before armed writes have landed."""


@dataclass(frozen=True, eq=False, slots=True)
class Arrival:
    """A message reaches a joint vCPU, in the variants that sent it; with a `point` it is armed.

    As a key it is equal to itself alone, which is quick: `Sent` has one of each.
    """

    point: str
    message: MessageId
    senders: Group


@dataclass(frozen=True, eq=False, slots=True)
class Left:
    """A split on another vCPU leaves these groups. An automaton has one of each, likewise."""

    groups: tuple[Group, ...]


Key = StepId | Arrival | Left
"""What happens to a joint vCPU."""


class Sent(dict[Group, Arrival]):
    """A message that steps send: how it arrives, by the variants that sent it."""

    def __init__(self, point: str, message: MessageId) -> None:
        self.point = point
        self.message = message

    def __missing__(self, senders: Group) -> Arrival:
        arrival = self[senders] = Arrival(self.point, self.message, senders)
        return arrival


NO_MESSAGE: Final = Sent("", MessageId(0))


class Move(NamedTuple):
    """A step, taken apart: `on` takes `action`; if it is an ICR write, its message goes to the
    other vCPUs `to`, armed or at once."""

    on: int
    action: StepId
    to: tuple[int, ...]
    message: Sent
    arming: bool


class Expanding(Protocol):
    """What computes a node that is not there yet."""

    def expand(self, node: "Node", key: Key) -> "Node": ...


class Node(dict[Key, "Node"]):
    """A joint vCPU, and what the step that led here showed and sent.

    joint: the joint vCPU. armed: per variant the arrivals that land in its next step. counter: this
    node's coverage counter. left: the groups still compared, as other vCPUs hear of it. latent: the
    divergences that a schedule which ends here has on this vCPU.
    """

    __slots__ = (
        "armed",
        "automaton",
        "counter",
        "divergences",
        "joint",
        "latent",
        "left",
        "senders",
    )

    def __init__(
        self,
        automaton: Expanding,
        joint: JointId,
        armed: tuple[ArrivalsId, ...],
        divergences: tuple[Divergence, ...],
        senders: Group,
        left: Left,
        latent: tuple[Divergence, ...],
        counter: int,
    ) -> None:
        self.automaton = automaton
        self.joint = joint
        self.armed = armed
        self.divergences = divergences
        self.senders = senders
        self.left = left
        self.latent = latent
        self.counter = counter

    def __missing__(self, key: Key) -> "Node":
        return self.automaton.expand(self, key)


def walk(vm: list[Node], waiting: list[int], move: Move) -> Node:
    """Let the VM take a step; gives the node of the vCPU that took it.

    vm: a node per vCPU, changed in place. waiting: the vCPUs for which writes are armed, likewise.
    """
    on, action, to, message, arming = move
    if waiting:
        if arming:
            waiting[:] = [target for target in waiting if target != on]
        else:
            for target in waiting:
                if target != on:
                    vm[target] = vm[target][SETTLE]
            waiting.clear()
    node = vm[on] = vm[on][action]
    if node.divergences:
        for number, other in enumerate(vm):
            if number != on:
                vm[number] = other[node.left]
    if to and node.senders:
        arrival = message[node.senders]
        for target in to:
            vm[target] = vm[target][arrival]
        if arming:
            waiting += [target for target in to if target not in waiting]
    return node
