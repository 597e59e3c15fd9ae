"""The joint automaton: joint vCPUs with a memory.

What happens to a joint vCPU (a step it takes, a message it receives) leads from one node to another
(`fuzz.memory.node`). What is not there yet is computed here.

Memory is bounded: at `max_edges` look-ups remembered, everything is forgotten and grows anew.
"""

from collections.abc import Callable

from fuzz.compare.compared import Compared, Group
from fuzz.compare.joint import JointVcpu, latents, receive, regroup, settle, start, take
from fuzz.compare.signature import Divergence
from fuzz.memory.node import NO_MESSAGE, SETTLE, Arrival, Key, Left, Move, Node, Sent, walk
from fuzz.memory.numbers import (
    NO_ARRIVALS,
    ArrivalsId,
    JointId,
    StepId,
)
from fuzz.memory.packed import NOTHING, Mark, Packed
from fuzz.memory.tables import Landing, Tables, first_places
from fuzz.schedule.schedule import Schedule, own_part
from variants.machine.points import POINTS
from variants.machine.step import Step, targets
from variants.machine.vcpu import Irq

Counting = Callable[[Packed, JointId], int]
"""What makes a joint vCPU new to a fuzzer: gives the number of its coverage counter."""


def uncounted(_packed: Packed, _joint: JointId) -> int:
    """For those who do not fuzz."""
    return 0


class Automaton:
    """The joint automaton of `compared`, shared by fuzzing, replay and minimising.

    found: called with the divergences of a node when it is made: each the first time a joint
        step shows them, and again only after everything was forgotten.
    counting: gives each joint vCPU its coverage counter.
    generation: how often everything was forgotten, and with it every node.
    max_edges: how many edges to keep, at some hundred bytes each with the vCPU steps behind them.
    uncached: `compared` without memory.
    """

    def __init__(
        self,
        compared: Compared,
        found: Callable[[tuple[Divergence, ...]], None] = lambda _divergences: None,
        counting: Counting = uncounted,
        max_edges: int = 1_000_000,
    ) -> None:
        self.uncached = compared
        self._tables = Tables(compared)
        self.compared = self._tables.compared
        self.found = found
        self.counting = counting
        self.max_edges = max_edges
        self.generation = 0
        self._calm = (NO_ARRIVALS,) * len(compared.names)
        self._sent: dict[tuple[str, Irq], Sent] = {}
        self._lefts: dict[tuple[Group, ...], Left] = {}
        self._begin()

    def _begin(self) -> None:
        """Start with an empty memory."""
        self._packed = Packed(self._tables)
        self._nodes: dict[object, Node] = {}
        self._landings: dict[tuple[Irq, ...], list[Landing]] = {}
        self._edges = 0
        self._told: dict[Mark, tuple[Divergence, ...]] = {}
        starts = [self._packed.pack(start(self.compared, bsp)) for bsp in (True, False)]
        self._bsp, self._ap = [self._node(one, self._calm, (), ()) for one in starts]

    def forget(self) -> None:
        """Free everything that can be computed again."""
        for node in self._nodes.values():
            node.clear()
        self._tables.forget()
        self.generation += 1
        self._begin()

    def make_room(self) -> None:
        """Forget everything if it is too much. Call it between schedules."""
        if self._edges > self.max_edges:
            self.forget()

    def start(self, vcpus: int) -> list[Node]:
        """A VM where a schedule for `vcpus` vCPUs starts. Ask anew for each schedule."""
        self.make_room()
        return [self._bsp] + [self._ap] * (vcpus - 1)

    def move(self, step: Step, vcpus: int) -> Move:
        """`step` taken apart, for `walk`."""
        action = self._tables.step_id(own_part(step))
        if step.op != "icr":
            return Move(step.on, action, (), NO_MESSAGE, False)
        irq = Irq(step.mode, step.vector)
        if (step.at, irq) not in self._sent:
            self._sent[step.at, irq] = Sent(step.at, self._tables.message_id(irq))
        to = tuple(target for target in targets(step, vcpus) if target != step.on)
        return Move(step.on, action, to, self._sent[step.at, irq], bool(step.at))

    def races(self, node: Node, action: StepId, messages: tuple[Irq, ...]) -> list[tuple[str, Irq]]:
        """Where in a step from `node` which of `messages` can land, always the same ones: of the
        places that come to the same the first, and none where it is as after the step."""
        if node.joint == NOTHING:
            return []
        landings = self._landings.get(messages)
        if landings is None:
            landings = self._landings[messages] = self._tables.landings(("", *POINTS), messages)
        members = self._packed.label(node.joint).members
        rows = [
            self._tables.landed(member, vcpu, action, landings)
            for member, vcpu in zip(members, self._packed.vcpu_ids(node.joint), strict=True)
        ]
        outcomes = zip(zip(*rows, strict=True), landings, strict=True)
        distinct = first_places((results, landing.message) for results, landing in outcomes)
        some = [landings[place] for place in distinct.values()]
        return [(one.point, self._tables.message(one.message)) for one in some if one.point]

    def expand(self, node: Node, key: Key) -> Node:
        """Compute and remember what follows `node` when `key` happens."""
        self._edges += 1
        after = self._follow(node, key)
        node[key] = after
        return after

    def _follow(self, node: Node, key: Key) -> Node:
        if node.joint == NOTHING:
            return self._node(NOTHING, self._calm, (), ())
        match key:
            case Arrival():
                return self._receive(node, key)
            case Left(groups):
                left = regroup(self._joint_vcpu(node), groups)
                armed = tuple(self._tables.arrivals_id(one) for one in left.arrivals)
                return self._node(self._packed.pack(left), armed, (), ())
            case step:
                return self._settle(node) if step == SETTLE else self._take(node, step)

    def _take(self, node: Node, action: StepId) -> Node:
        """Let the vCPU take a step."""
        packed, tables = self._packed, self._tables
        label = packed.label(node.joint)
        members, vcpus = label.members, packed.vcpu_ids(node.joint)
        arrivals = [node.armed[member] for member in members]
        results = [
            tables.result(member, vcpu, action, armed)
            for member, vcpu, armed in zip(members, vcpus, arrivals, strict=True)
        ]
        senders = tuple(
            [member for member, one in zip(members, results, strict=True) if tables.sent(one)]
        )
        after, mark = packed.follow(label, vcpus, results, action, arrivals)
        divergences = self._told.get(mark) if mark else ()
        if after is None or divergences is None:
            taken = take(self.compared, self._joint_vcpu(node), tables.step(action))
            after, divergences = packed.pack(taken.after), taken.divergences
            if mark:
                self._told[mark] = divergences
        return self._node(after, self._calm, divergences, senders)

    def _receive(self, node: Node, arrival: Arrival) -> Node:
        """A message reaches the vCPU."""
        point, message, senders = arrival.point, arrival.message, arrival.senders
        members = self._packed.label(node.joint).members
        if point:
            irq = self._tables.message(message)
            armed = list(node.armed)
            for member in members:
                if member in senders:
                    before = self._tables.arrivals(armed[member])
                    armed[member] = self._tables.arrivals_id((*before, (point, irq)))
            return self._node(node.joint, tuple(armed), (), ())
        vcpus = [
            self._tables.received(member, vcpu, message) if member in senders else vcpu
            for member, vcpu in zip(members, self._packed.vcpu_ids(node.joint), strict=True)
        ]
        after = self._packed.join(self._packed.label(node.joint), vcpus)
        if after is None:
            irq = self._tables.message(message)
            after = self._packed.pack(
                receive(self.compared, self._joint_vcpu(node), senders, "", irq)
            )
        return self._node(after, node.armed, (), ())

    def _settle(self, node: Node) -> Node:
        """Another vCPU acts first: armed writes land at once."""
        label = self._packed.label(node.joint)
        vcpus = []
        for member, vcpu in zip(label.members, self._packed.vcpu_ids(node.joint), strict=True):
            settled = vcpu
            for _, irq in self._tables.arrivals(node.armed[member]):
                settled = self._tables.received(member, settled, self._tables.message_id(irq))
            vcpus.append(settled)
        after = self._packed.join(label, vcpus)
        if after is None:
            after = self._packed.pack(settle(self.compared, self._joint_vcpu(node)))
        return self._node(after, self._calm, (), ())

    def _joint_vcpu(self, node: Node) -> JointVcpu:
        arrivals = tuple(self._tables.arrivals(armed) for armed in node.armed)
        return self._packed.unpack(node.joint)._replace(arrivals=arrivals)

    def _node(
        self,
        joint: JointId,
        armed: tuple[ArrivalsId, ...],
        divergences: tuple[Divergence, ...],
        senders: Group,
    ) -> Node:
        key = (joint, armed, divergences, senders)
        node = self._nodes.get(key)
        if node is None:
            packed = self._packed
            over = joint == NOTHING
            node = self._nodes[key] = Node(
                self,
                joint,
                armed,
                divergences,
                senders,
                self._left(() if over else packed.label(joint).groups),
                () if over else packed.latents(joint),
                self.counting(packed, joint),
            )
            if divergences or node.latent:
                self.found(divergences + node.latent)
        return node

    def _left(self, groups: tuple[Group, ...]) -> Left:
        left = self._lefts.get(groups)
        if left is None:
            left = self._lefts[groups] = Left(groups)
        return left

    def compare(self, schedule: Schedule) -> list[tuple[int, Divergence]]:
        """Every divergence of `schedule` with its step number; latent ones at the last step."""
        vm, waiting = self.start(schedule.vcpus), list[int]()
        found = []
        for number, step in enumerate(schedule.steps):
            node = walk(vm, waiting, self.move(step, schedule.vcpus))
            found += [(number, divergence) for divergence in node.divergences]
            if not node.left.groups:
                break
        end = latents(self.compared, [self._packed.unpack(node.joint) for node in vm])
        return found + [(len(schedule.steps) - 1, divergence) for divergence in end]
