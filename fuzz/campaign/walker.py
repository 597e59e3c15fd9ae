"""A fuzzer's inputs, walked through the joint automaton."""

from collections.abc import Sequence

from fuzz.memory.automaton import Automaton
from fuzz.memory.node import Move, Node, walk
from fuzz.schedule.codes import decode_step, prefix_vector, vcpus_of
from fuzz.schedule.schedule import step_problem
from variants.machine.step import MAX_VCPUS, MIN_VCPUS


class Moves(dict[int, Move | None]):
    """The moves of step codes; None for codes that are no step of this VM's."""

    def __init__(self, automaton: Automaton, vcpus: int) -> None:
        self.automaton = automaton
        self.vcpus = vcpus

    def __missing__(self, code: int) -> Move | None:
        move = self[code] = self.decode(code, None)
        return move

    def decode(self, code: int, vector: int | None) -> Move | None:
        """The move of `code`, with the vector of a prefix if there was one."""
        step = decode_step(code, vector)
        if step is None or step_problem(step, self.automaton.compared.vendor, self.vcpus):
            return None
        return self.automaton.move(step, self.vcpus)


class Walker:
    """Walks inputs through the automaton. An input often begins as the one before: the mutator has
    just walked it, or most of it. What they have in common is not walked again.

    vm, waiting: where the input leads, as `walk` has them. nodes: the steps on the way.
    """

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self.vm: list[Node] = []
        self.waiting: list[int] = []
        self.nodes: list[Node] = []
        self._moves = {n: Moves(automaton, n) for n in range(MIN_VCPUS, MAX_VCPUS + 1)}
        self._codes = b""
        self._vector: int | None = None
        self._trail: list[tuple[tuple[Node, ...], tuple[int, ...], int, int | None]] = []
        self._generation = -1

    def move(self, code: int) -> Move:
        """The move of a code that is a step in the VM of this input."""
        move = self._moves[len(self.vm)][code]
        assert move is not None
        return move

    def known(self, on: int, codes: Sequence[int]) -> Node | None:
        """What these steps and messages make of vCPU `on`, if that has been computed."""
        node: Node | None = self.vm[on]
        for code in codes:
            move = self.move(code)
            if node is not None:
                members = tuple(member for group in node.left.groups for member in group)
                node = node.get(move.message[members] if move.to else move.action)
        return node

    def latent(self, data: bytes, most: int) -> list[int]:
        """After how many codes of an input, fewer than `most`, variants are alike in all that they
        have shown and not inside."""
        self.walk(data)
        trail = enumerate(self._trail[:most])
        return [number for number, (vm, *_) in trail if any(node.latent for node in vm)]

    def walk(self, data: bytes) -> list[Node]:
        """Run an input from the start; gives a node for each step."""
        self.automaton.make_room()
        codes = data[: len(data) & ~1] or b"\0\0"
        if codes == self._codes and self._generation == self.automaton.generation:
            return self.nodes
        known = self._known(codes)
        if known:
            vm, waiting, count, self._vector = self._trail[known - 1]
            self.vm[:], self.waiting[:] = vm, waiting
            del self.nodes[count:], self._trail[known:]
            self._codes = codes[: 2 * known]
        else:
            first = int.from_bytes(codes[:2], "little")
            self.vm, self.waiting = self.automaton.start(vcpus_of(first)), []
            self.nodes, self._trail, self._vector = [], [], None
            self._codes = codes[:2]
            self._generation = self.automaton.generation
            self._remember()
        for code in memoryview(codes[len(self._codes) :]).cast("H"):
            self.step(code)
        return self.nodes

    def step(self, code: int) -> None:
        """Go on with one more code."""
        moves = self._moves[len(self.vm)]
        self._codes += code.to_bytes(2, "little")
        if self._vector is None:
            move = moves[code]
            if move is None:
                self._vector = prefix_vector(code)
        else:
            move, self._vector = moves.decode(code, self._vector), None
        if move is not None:
            self.nodes.append(walk(self.vm, self.waiting, move))
        self._remember()

    def _remember(self) -> None:
        trail = (tuple(self.vm), tuple(self.waiting), len(self.nodes), self._vector)
        self._trail.append(trail)

    def _known(self, codes: bytes) -> int:
        """How many of the first codes the last input had too."""
        if self._generation != self.automaton.generation or codes[:2] != self._codes[:2]:
            return 0
        at = 2
        end = min(len(codes), len(self._codes))
        while at < end and codes[at : at + 2] == self._codes[at : at + 2]:
            at += 2
        return at // 2
