"""The joint automaton: the joint machine with a memory, driven by schedule codes.

A node is a dict from code to node, so a step once computed costs one dict look-up. What is not
there yet is computed by `Node.__missing__` from memoised vCPU steps. vCPUs of one variant go
through few states, however many joint states these combine to.

Memory is bounded: at `max_edges` look-ups remembered, everything is forgotten and grows anew.
"""

from collections.abc import Callable
from functools import cache
from typing import Final

from fuzz.joint import Divergence, Joint, JointState, initial_joint, joint_step, latent
from fuzz.schedule import Schedule, step_problem
from fuzz.schedule_bytes import decode_step, header, prefix_vector
from variants.machine.machine import Arrivals, StepVcpu, VcpuStep
from variants.machine.step import MAX_VCPUS, MIN_VCPUS, Step
from variants.machine.vcpu import VcpuState, thaw

COUNTERS: Final = 4096
"""Coverage counters. More of them make libFuzzer's corpus explode; see docs/coverage.md."""


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


class Node(dict[int, "Node"]):
    """A joint state, and the divergences of the step that led here.

    counter: this node's coverage counter. latent: the divergences a schedule that ends here
    has. vector: a prefix code has set this vector for the next code.
    """

    __slots__ = ("automaton", "counter", "divergences", "latent", "state", "vcpus", "vector")

    def __init__(self, automaton: "Automaton", vcpus: int, state: JointState) -> None:
        self.automaton = automaton
        self.vcpus = vcpus
        self.state = state
        self.vector: int | None = None
        self.divergences: tuple[Divergence, ...] = ()
        self.latent = latent(automaton.joint, state)
        self.counter = automaton.counter_of(state)

    def __missing__(self, code: int) -> "Node":
        return self.automaton.expand(self, code)


class Automaton:
    """The joint automaton of `joint`, shared by fuzzing, replay and minimising.

    found: called with the divergences of a node when it is made: each the first time a joint
        step shows them, and again only after everything was forgotten.
    by_state: every joint state is new to the fuzzer, not only its outline; for comparison.
    max_edges: how many edges to keep, at some 500 bytes each, vCPU steps included.
    """

    def __init__(
        self,
        joint: Joint,
        found: Callable[[tuple[Divergence, ...]], None] = lambda _divergences: None,
        max_edges: int = 4_000_000,
        by_state: bool = False,
    ) -> None:
        memory = [memoised(step_vcpu) for step_vcpu in joint.step_vcpus]
        self.joint = joint._replace(step_vcpus=tuple(step for step, _ in memory))
        self.found = found
        self.max_edges = max_edges
        self.by_state = by_state
        self.made = 0
        self._forget = [forget for _, forget in memory]
        self._counters: dict[object, int] = {}
        self._nodes: dict[tuple[object, ...], Node] = {}
        self._edges = 0

    def counter_of(self, state: JointState) -> int:
        """The coverage counter of `state`: what makes a state new to the fuzzer.

        Not the whole state: that has no end and makes the corpus explode. What counts is who is
        still compared and why they differ inside, and for each vCPU what INIT and SIPI meet.
        """
        self.made += 1
        if self.by_state:
            return self.made % COUNTERS
        seen = tuple(
            max(outline(vcpu) for vcpu in one.vcpus)
            for group in state.groups
            if (one := state.states[group[0]])
        )
        key = (state.groups, frozenset(cause for *_, cause in state.causes), seen)
        return self._counters.setdefault(key, len(self._counters) % COUNTERS)

    def root(self, vcpus: int) -> Node:
        """Where a schedule for `vcpus` vCPUs starts. Ask anew for each schedule."""
        if self._edges > self.max_edges:
            self.forget()
        return self._node(vcpus, initial_joint(self.joint, vcpus), (), None)

    def roots(self) -> dict[int, Node]:
        """The root by a schedule's header code, modulo 8 (vendor and number of vCPUs)."""
        counts = range(MIN_VCPUS, MAX_VCPUS + 1)
        return {header(self.joint.vendor, vcpus, 0): self.root(vcpus) for vcpus in counts}

    def forget(self) -> None:
        """Free everything that can be computed again."""
        for node in self._nodes.values():
            node.clear()
        self._nodes.clear()
        self._edges = 0
        for forget in self._forget:
            forget()
        outline.cache_clear()

    def expand(self, node: Node, code: int) -> Node:
        """Compute and remember the node after `code`; a code that is no step changes nothing."""
        self._edges += 1
        if node.vector is None and (vector := prefix_vector(code)) is not None:
            after = self._node(node.vcpus, node.state, (), vector)
        else:
            step = decode_step(code, node.vector)
            if step is None or step_problem(step, self.joint.vendor, node.vcpus):
                after = node
            else:
                after = self.take(node, step)
        node[code] = after
        return after

    def take(self, node: Node, step: Step) -> Node:
        """The node after `step`."""
        if not node.state.groups:
            return node
        state, divergences = joint_step(self.joint, node.state, step)
        return self._node(node.vcpus, state, divergences, None)

    def _node(
        self,
        vcpus: int,
        state: JointState,
        divergences: tuple[Divergence, ...],
        vector: int | None,
    ) -> Node:
        key = (vcpus, state, divergences, vector)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(self, vcpus, state)
            node.vector = vector
            node.divergences = divergences
            if divergences or node.latent:
                self.found(divergences + node.latent)
        return node

    def compare(self, schedule: Schedule) -> list[tuple[int, Divergence]]:
        """Every divergence of `schedule` with its step number; latent ones at the last step."""
        node = self.root(schedule.vcpus)
        divergences = []
        for number, step in enumerate(schedule.steps):
            node = self.take(node, step)
            if not node.state.groups and not node.divergences:
                break
            divergences += [(number, found) for found in node.divergences]
            if not node.state.groups:
                break
        divergences += [(len(schedule.steps) - 1, found) for found in node.latent]
        return divergences
