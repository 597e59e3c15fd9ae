"""The joint automaton: joint vCPUs with a memory.

A node is a dict from what happens to a joint vCPU (a step it takes, a message it receives) to
the node that follows, so what was once computed costs one look-up. What is not there yet is
computed by `Node.__missing__`. A VM is a list of nodes, one per vCPU.

Memory is bounded: at `max_edges` look-ups remembered, everything is forgotten and grows anew.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from fuzz.compare.compared import Compared, Group
from fuzz.compare.joint import JointVcpu, latents, regroup, start, take
from fuzz.compare.signature import Divergence
from fuzz.memory.packed import NOTHING, Mark, Packed
from fuzz.memory.tables import OBSERVED, Tables, numbered
from fuzz.schedule.schedule import Schedule, own_part
from variants.machine.step import Step, targets
from variants.machine.vcpu import Irq, Req, VcpuState, thaw

COUNTERS: Final = 4096
"""Coverage counters. More of them make libFuzzer's corpus explode; see docs/coverage.md."""
SETTLE: Final = -1
"""The key of what happens when another vCPU acts before armed writes have landed."""

Key = int | tuple[int, Group] | tuple[Group, ...]
"""What happens to a joint vCPU: a step's number, a message's number and who sent it, or the
groups that are left after a split on another vCPU."""


class Move(NamedTuple):
    """A step, taken apart: `on` takes the step numbered `action`; if it is an ICR write, the
    message numbered `message` goes to the other vCPUs `to`, armed or at once."""

    on: int
    action: int
    to: tuple[int, ...]
    message: int
    arming: bool


def outline(state: VcpuState) -> tuple[object, ...]:
    """The part of a vCPU's state that decides what becomes of events."""
    vcpu = thaw(state)
    mode = (vcpu.guest_mode, vcpu.controls, vcpu.smm, not vcpu.gif, vcpu.vmxon)
    nmi = (bool(vcpu.nmi_pending or vcpu.nmi_queued), vcpu.nmi_mask)
    smi = bool(vcpu.smi_pending or vcpu.requests & Req.SMI)
    interrupt = (bool(vcpu.irr), vcpu.rflags_if)
    event = vcpu.requests & Req.EVENT
    return (vcpu.pending_events, vcpu.mp_state, *mode, *nmi, smi, *interrupt, event)


class Node(dict[Key, "Node"]):
    """A joint vCPU, and what the step that led here showed and sent.

    packed: the joint vCPU as `fuzz.memory.packed` has it. armed: per variant the number of the
    arrivals that land in its next step. counter: this node's coverage counter. latent: the
    divergences that a schedule which ends here has on this vCPU.
    """

    __slots__ = (
        "armed",
        "automaton",
        "counter",
        "divergences",
        "groups",
        "latent",
        "packed",
        "senders",
    )

    def __init__(
        self,
        automaton: "Automaton",
        packed: int,
        armed: tuple[int, ...],
        divergences: tuple[Divergence, ...],
        senders: Group,
    ) -> None:
        self.automaton = automaton
        self.packed = packed
        self.armed = armed
        self.divergences = divergences
        self.senders = senders
        self.groups = automaton.groups_of(packed)
        self.latent = automaton.latents_of(packed)
        self.counter = automaton.counter_of(packed)

    def __missing__(self, key: Key) -> "Node":
        return self.automaton.expand(self, key)


class Automaton:
    """The joint automaton of `compared`, shared by fuzzing, replay and minimising.

    found: called with the divergences of a node when it is made: each the first time a joint
        step shows them, and again only after everything was forgotten.
    by_state: every joint vCPU is new to the fuzzer, not only its outline; for comparison.
    generation: how often everything was forgotten, and with it every node.
    max_edges: how many edges to keep, at some 500 bytes each with the vCPU steps behind them.
    uncached: `compared` without memory.
    """

    def __init__(
        self,
        compared: Compared,
        found: Callable[[tuple[Divergence, ...]], None] = lambda _divergences: None,
        max_edges: int = 4_000_000,
        by_state: bool = False,
    ) -> None:
        self.uncached = compared
        self._tables = Tables(compared)
        self.compared = self._tables.compared
        self.found = found
        self.max_edges = max_edges
        self.by_state = by_state
        self._made = 0
        self.generation = 0
        self._calm = (0,) * len(compared.names)
        self._counters: dict[object, int] = {}
        self._messages: dict[tuple[str, int], int] = {}
        self._message_list: list[tuple[str, int]] = []
        self._begin()

    def _begin(self) -> None:
        """Start with an empty memory."""
        self._packed = Packed(self._tables)
        self._nodes: dict[object, Node] = {}
        self._edges = 0
        self._outlines: dict[int, tuple[object, ...]] = {}
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

    def groups_of(self, packed: int) -> tuple[Group, ...]:
        """Who is still compared with whom."""
        return () if packed == NOTHING else self._packed.labels[packed >> self._packed.shift].groups

    def latents_of(self, packed: int) -> tuple[Divergence, ...]:
        """The divergences of a schedule that ends in this joint vCPU, on this vCPU."""
        return () if packed == NOTHING else self._packed.latents(packed)

    def counter_of(self, packed: int) -> int:
        """The coverage counter of a joint vCPU: what makes it new to the fuzzer.

        Not the whole state: that has no end and makes the corpus explode. What counts is who is
        still compared and why they differ inside, and what INIT and SIPI meet.
        """
        if self.by_state:
            self._made += 1
            return self._made % COUNTERS
        if packed == NOTHING:
            return 0
        seen = tuple(dict.fromkeys([self._outline(one) for one in self._packed.numbers(packed)]))
        label = self._packed.labels[packed >> self._packed.shift]
        key = (label.groups, label.causes, seen)
        return self._counters.setdefault(key, len(self._counters) % COUNTERS)

    def _outline(self, number: int) -> tuple[object, ...]:
        known = self._outlines.get(number)
        if known is None:
            known = self._outlines[number] = outline(self._tables.vcpus[number])
        return known

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
        action = self._tables.step_number(own_part(step))
        if step.op != "icr":
            return Move(step.on, action, (), 0, False)
        sent = (step.at, self._tables.message_number(Irq(step.mode, step.vector)))
        message = numbered(sent, self._messages, self._message_list)
        to = tuple(target for target in targets(step, vcpus) if target != step.on)
        return Move(step.on, action, to, message, bool(step.at))

    def passed(self, node: Node, action: int) -> list[str]:
        """The preemption points that a step from `node` passes in some variant."""
        if node.packed == NOTHING:
            return []
        label = self._packed.labels[node.packed >> self._packed.shift]
        numbers = self._packed.numbers(node.packed)
        passed = [
            self._tables.passed(member, number, action)
            for member, number in zip(label.members, numbers, strict=True)
        ]
        return list(dict.fromkeys(point for points in passed for point in points))

    def expand(self, node: Node, key: Key) -> Node:
        """Compute and remember what follows `node` when `key` happens."""
        self._edges += 1
        if node.packed == NOTHING:
            after = self._node(NOTHING, self._calm, (), ())
        elif isinstance(key, int):
            after = self._settle(node) if key == SETTLE else self._take(node, key)
        elif key and isinstance(key[0], int):
            after = self._receive(node, *self._message_list[key[0]], key[1])
        else:
            left = regroup(self._joint_vcpu(node), key)
            after = self._node(self._packed.pack(left), self._armed(left), (), ())
        node[key] = after
        return after

    def _take(self, node: Node, action: int) -> Node:
        """Let the vCPU take a step."""
        packed, tables = self._packed, self._tables
        number = node.packed >> packed.shift
        label = packed.labels[number]
        numbers = packed.numbers(node.packed)
        arrivals = [node.armed[member] for member in label.members]
        results = [
            tables.result(member, one, action, armed)
            for member, one, armed in zip(label.members, numbers, arrivals, strict=True)
        ]
        sent = zip(label.members, results, strict=True)
        senders = tuple([member for member, one in sent if tables.observed[one & OBSERVED][1]])
        after, mark = packed.follow(number, numbers, results, action, arrivals)
        divergences = self._told.get(mark) if mark else ()
        if after is None or divergences is None:
            taken = take(self.compared, self._joint_vcpu(node), tables.steps[action])
            after, divergences = packed.pack(taken.after), taken.divergences
            if mark:
                self._told[mark] = divergences
        return self._node(after, self._calm, divergences, senders)

    def _receive(self, node: Node, point: str, message: int, senders: Group) -> Node:
        """A message reaches the vCPU in the variants `senders`; with a `point` it is armed."""
        label = self._packed.labels[node.packed >> self._packed.shift]
        if point:
            irq = self._tables.messages[message]
            armed = list(node.armed)
            for member in label.members:
                if member in senders:
                    before = self._tables.armed[armed[member]]
                    armed[member] = self._tables.arrivals_number((*before, (point, irq)))
            return self._node(node.packed, tuple(armed), (), ())
        numbers = [
            self._tables.received(one, message) if member in senders else one
            for member, one in zip(label.members, self._packed.numbers(node.packed), strict=True)
        ]
        return self._node(self._joined(node, numbers), node.armed, (), ())

    def _settle(self, node: Node) -> Node:
        """Another vCPU acts first: armed writes land at once."""
        label = self._packed.labels[node.packed >> self._packed.shift]
        numbers = []
        for member, one in zip(label.members, self._packed.numbers(node.packed), strict=True):
            after = one
            for _, irq in self._tables.armed[node.armed[member]]:
                after = self._tables.received(after, self._tables.message_number(irq))
            numbers.append(after)
        return self._node(self._joined(node, numbers), self._calm, (), ())

    def _joined(self, node: Node, numbers: Sequence[int]) -> int:
        """The joint vCPU of `node` once its states are these."""
        after = self._packed.join(node.packed >> self._packed.shift, numbers)
        # Those of a group have shown the same, so a message reaches all of them or none.
        assert after is not None
        return after

    def _joint_vcpu(self, node: Node) -> JointVcpu:
        arrivals = tuple(self._tables.armed[armed] for armed in node.armed)
        return self._packed.unpack(node.packed)._replace(arrivals=arrivals)

    def _armed(self, vcpu: JointVcpu) -> tuple[int, ...]:
        return tuple(self._tables.arrivals_number(one) for one in vcpu.arrivals)

    def _node(
        self,
        packed: int,
        armed: tuple[int, ...],
        divergences: tuple[Divergence, ...],
        senders: Group,
    ) -> Node:
        key = (packed, armed, divergences, senders)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(self, packed, armed, divergences, senders)
            if divergences or node.latent:
                self.found(divergences + node.latent)
        return node

    def compare(self, schedule: Schedule) -> list[tuple[int, Divergence]]:
        """Every divergence of `schedule` with its step number; latent ones at the last step."""
        vm, armed = self.start(schedule.vcpus), list[int]()
        found = []
        for number, step in enumerate(schedule.steps):
            node = walk(vm, armed, self.move(step, schedule.vcpus))
            found += [(number, divergence) for divergence in node.divergences]
            if not node.groups:
                break
        end = latents(self.compared, [self._packed.unpack(node.packed) for node in vm])
        return found + [(len(schedule.steps) - 1, divergence) for divergence in end]


def walk(vm: list[Node], armed: list[int], move: Move) -> Node:
    """Let the VM take a step; gives the node of the vCPU that took it.

    vm: a node per vCPU, changed in place. armed: the vCPUs that armed writes wait for, likewise.
    """
    on, action, to, message, arming = move
    if armed:
        if arming:
            armed[:] = [target for target in armed if target != on]
        else:
            for target in armed:
                if target != on:
                    vm[target] = vm[target][SETTLE]
            armed.clear()
    node = vm[on] = vm[on][action]
    if node.divergences:
        for number, other in enumerate(vm):
            if number != on:
                vm[number] = other[node.groups]
    if to and node.senders:
        key = (message, node.senders)
        for target in to:
            vm[target] = vm[target][key]
        if arming:
            armed += [target for target in to if target not in armed]
    return node
