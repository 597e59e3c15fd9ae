"""The joint automaton: joint vCPUs with a memory.

A node is a dict from what happens to a joint vCPU (a step it takes, a message it receives) to
the node that follows, so what was once computed costs one look-up. What is not there yet is
computed by `Node.__missing__` from memoised vCPU steps. A VM is a list of nodes, one per vCPU.

Memory is bounded: at `max_edges` look-ups remembered, everything is forgotten and grows anew.
"""

from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

from fuzz.compared import Compared, Group
from fuzz.joint import (
    JointVcpu,
    latents,
    own_part,
    receive,
    regroup,
    settle,
    start,
    take,
)
from fuzz.schedule import Schedule
from fuzz.signature import Divergence
from variants.machine.machine import Arrivals, StepVcpu, VcpuStep
from variants.machine.step import Step, targets
from variants.machine.vcpu import Irq, VcpuState, thaw

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


def memoised(step_vcpu: StepVcpu) -> tuple[StepVcpu, Callable[[], None]]:
    """`step_vcpu` with a memory, and the function that empties it."""
    known: dict[tuple[VcpuState, Step, Arrivals], VcpuStep] = {}
    interned: dict[VcpuState, VcpuState] = {}

    def remembered(state: VcpuState, step: Step, arrivals: Arrivals) -> VcpuStep:
        key = (state, step, arrivals)
        found = known.get(key)
        if found is None:
            found = step_vcpu(state, step, arrivals)
            vcpu = interned.setdefault(found.vcpu, found.vcpu)
            found = known[key] = found._replace(vcpu=vcpu)
        return found

    def forget() -> None:
        known.clear()
        interned.clear()

    return remembered, forget


@cache
def outline(state: VcpuState) -> tuple[int, ...]:
    """The part of a vCPU's state that decides what becomes of INIT and SIPI."""
    vcpu = thaw(state)
    mode = (vcpu.guest_mode, "init" in vcpu.controls, vcpu.smm, not vcpu.gif, vcpu.vmxon)
    return (vcpu.pending_events, vcpu.mp_state, *mode)


class Node(dict[Key, "Node"]):
    """A joint vCPU, and what the step that led here showed and sent.

    counter: this node's coverage counter. latent: the divergences that a schedule which ends
    here has on this vCPU.
    """

    __slots__ = ("automaton", "counter", "divergences", "latent", "senders", "vcpu")

    def __init__(
        self,
        automaton: "Automaton",
        vcpu: JointVcpu,
        divergences: tuple[Divergence, ...],
        senders: Group,
    ) -> None:
        self.automaton = automaton
        self.vcpu = vcpu
        self.divergences = divergences
        self.senders = senders
        self.latent = latents(automaton.compared, (vcpu,))
        self.counter = automaton.counter_of(vcpu)

    def __missing__(self, key: Key) -> "Node":
        return self.automaton.expand(self, key)


class Automaton:
    """The joint automaton of `compared`, shared by fuzzing, replay and minimising.

    found: called with the divergences of a node when it is made: each the first time a joint
        step shows them, and again only after everything was forgotten.
    by_state: every joint vCPU is new to the fuzzer, not only its outline; for comparison.
    max_edges: how many edges to keep, at some 500 bytes each, vCPU steps included.
    """

    def __init__(
        self,
        compared: Compared,
        found: Callable[[tuple[Divergence, ...]], None] = lambda _divergences: None,
        max_edges: int = 4_000_000,
        by_state: bool = False,
    ) -> None:
        memory = [memoised(step_vcpu) for step_vcpu in compared.step_vcpus]
        self.compared = compared._replace(step_vcpus=tuple(step for step, _ in memory))
        self.found = found
        self.max_edges = max_edges
        self.by_state = by_state
        self.made = 0
        self._forget = [forget for _, forget in memory]
        self._counters: dict[object, int] = {}
        self._nodes: dict[object, Node] = {}
        self._edges = 0
        self._steps: dict[Step, int] = {}
        self._messages: dict[tuple[str, Irq], int] = {}
        self._step_list: list[Step] = []
        self._message_list: list[tuple[str, Irq]] = []
        self._starts = self._start()

    def counter_of(self, vcpu: JointVcpu) -> int:
        """The coverage counter of `vcpu`: what makes a state new to the fuzzer.

        Not the whole state: that has no end and makes the corpus explode. What counts is who is
        still compared and why they differ inside, and what INIT and SIPI meet.
        """
        self.made += 1
        if self.by_state:
            return self.made % COUNTERS
        seen = tuple(
            tuple(dict.fromkeys(outline(one) for member in group if (one := vcpu.vcpus[member])))
            for group in vcpu.groups
        )
        key = (vcpu.groups, vcpu.causes, vcpu.arrivals, seen)
        return self._counters.setdefault(key, len(self._counters) % COUNTERS)

    def start(self, vcpus: int) -> list[Node]:
        """A VM where a schedule for `vcpus` vCPUs starts. Ask anew for each schedule."""
        if self._edges > self.max_edges:
            self.forget()
        bsp, ap = self._starts
        return [bsp] + [ap] * (vcpus - 1)

    def _start(self) -> tuple[Node, Node]:
        bsp, ap = start(self.compared, True), start(self.compared, False)
        return self._node(bsp, (), ()), self._node(ap, (), ())

    def forget(self) -> None:
        """Free everything that can be computed again."""
        for node in self._nodes.values():
            node.clear()
        self._nodes.clear()
        self._edges = 0
        for forget in self._forget:
            forget()
        outline.cache_clear()
        self._starts = self._start()

    def move(self, step: Step, vcpus: int) -> Move:
        """`step` taken apart, for `walk`."""
        own = own_part(step)
        action = self._steps.setdefault(own, len(self._steps))
        if action == len(self._step_list):
            self._step_list.append(own)
        if step.op != "icr":
            return Move(step.on, action, (), 0, False)
        sent = (step.at, Irq(step.mode, step.vector))
        message = self._messages.setdefault(sent, len(self._messages))
        if message == len(self._message_list):
            self._message_list.append(sent)
        to = tuple(target for target in targets(step, vcpus) if target != step.on)
        return Move(step.on, action, to, message, bool(step.at))

    def expand(self, node: Node, key: Key) -> Node:
        """Compute and remember what follows `node` when `key` happens."""
        self._edges += 1
        vcpu = node.vcpu
        if isinstance(key, int):
            if key == SETTLE:
                after = self._node(settle(vcpu), (), ())
            else:
                after = self._node(*take(self.compared, vcpu, self._step_list[key]))
        elif key and isinstance(key[0], int):
            point, irq = self._message_list[key[0]]
            after = self._node(receive(vcpu, key[1], point, irq), (), ())
        else:
            after = self._node(regroup(vcpu, key), (), ())
        node[key] = after
        return after

    def _node(self, vcpu: JointVcpu, divergences: tuple[Divergence, ...], senders: Group) -> Node:
        key = (vcpu, divergences, senders)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(self, vcpu, divergences, senders)
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
            if not node.vcpu.groups:
                break
        end = latents(self.compared, [node.vcpu for node in vm])
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
                vm[number] = other[node.vcpu.groups]
    if to and node.senders:
        key = (message, node.senders)
        for target in to:
            vm[target] = vm[target][key]
        if arming:
            armed += [target for target in to if target not in armed]
    return node
