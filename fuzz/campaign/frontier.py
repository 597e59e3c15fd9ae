"""Going on from inputs in every way, as an exploration does, in an order of the fuzzer's own.

libFuzzer runs one mutation at a time of an input that it chooses. There are many thousand joint
vCPUs, each with up to a hundred ways on, so most mutations would go where others have gone. Here
each joint vCPU is gone on from once, in every way, when its turn comes; races that come to the same
are one way. Turns go round (`fuzz.campaign.turns`): families of events, whether variants differ
inside, how many are still compared, which and how they differ, and outlines
(`fuzz.campaign.coverage`). So what is rare has its turn soon, and what may be behind it is seen.
When the automaton forgets, all begins anew.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from fuzz.campaign.palette import RACE, code_bytes, message, palette, steps_in, unraced
from fuzz.campaign.turns import Turns
from fuzz.campaign.walker import Walker
from fuzz.memory.node import Node
from fuzz.schedule.alphabet import vector_of
from fuzz.schedule.codes import header
from variants.machine.step import MIN_VCPUS, Vendor
from variants.machine.vcpu import Irq


class Start(NamedTuple):
    """An input to go on from, the vCPU that goes on, and what may come beside the usual steps."""

    data: bytes
    on: int
    family: str | None


class Frontier:
    """Joint vCPUs of `vendor` to go on from.

    families: what inputs have beside the usual steps, None for anything: those that take turns, and
    when nothing is left of them the next. modes: the ICR modes of messages that land in a step.
    most: how many steps an input may have. note: called with what is about to be walked. tried: the
    same for inputs that nobody has walked.
    """

    def __init__(
        self,
        vendor: Vendor,
        walker: Walker,
        families: Sequence[Sequence[str | None]],
        modes: Sequence[str],
        most: int,
        note: Callable[[bytes], None],
        tried: Callable[[bytes], None],
    ) -> None:
        self.vendor = vendor
        self.walker = walker
        self.families = families
        self.most = most
        self.note = note
        self.tried = tried
        self.messages = tuple(Irq(mode, vector_of(mode)) for mode in modes)
        self._turns: Turns[Start] = Turns()
        self._met: set[tuple[int, str | None]] = set()
        self._fresh: list[bytes] = []
        self._generation = -1
        self._later: list[Sequence[str | None]] = []

    def put(self, node: Node, start: Start) -> bool:
        """`start` leads to `node`. Is its outline new?"""
        if (id(node), start.family) in self._met or steps_in(start.data) >= self.most:
            return False
        self._met.add((id(node), start.family))
        left = node.left.groups
        kind = (start.family, bool(node.latent), sum(map(len, left)), (left, node.latent))
        return self._turns.put((*kind, node.counter), start)

    def go_on(self, drawn: random.Random) -> bytes | None:
        """Go on from a joint vCPU. Gives an input that did, those first that led to new outlines;
        None if there is none left to go on from."""
        if self.walker.automaton.generation != self._generation:
            self._met.clear()
            self._turns.clear()
            self._later[:] = self.families
        while self._later and not self._turns:
            self._begin(self._later.pop(0))
        if not self._fresh and self._turns:
            start = self._turns.take(lambda bound: int(drawn.random() * bound))
            longer = start.data
            for longer, node in self._led(start):
                if self.put(node, start._replace(data=longer)):
                    self._fresh.append(longer)
            self._fresh = self._fresh or [longer]
        return self._fresh.pop() if self._fresh else None

    def _begin(self, families: Sequence[str | None]) -> None:
        """Put where a VM starts."""
        data = code_bytes(header(self.vendor, MIN_VCPUS, 0))
        self.walker.walk(data)
        self._generation = self.walker.automaton.generation
        for family in families:
            for on, node in enumerate(self.walker.vm):
                self.put(node, Start(data, on, family))

    def _led(self, start: Start) -> Iterator[tuple[bytes, Node]]:
        """Each way on from `start`, and the joint vCPU that it leads to."""
        walker = self.walker
        walker.walk(start.data)
        ways = self._ways(start.on, start.family)
        for codes, known in [(codes, walker.known(start.on, codes)) for codes in ways]:
            _, *armed, longer = accumulate(map(code_bytes, codes), initial=start.data)
            if known is None:
                for data in armed:
                    self.note(data)
                    walker.walk(data)
                self.tried(longer)
                walker.walk(longer)
                if walker.automaton.generation != self._generation:
                    return
                known = walker.vm[start.on]
            yield longer, known

    def _ways(self, on: int, family: str | None) -> Iterator[tuple[int, ...]]:
        """The codes of each thing that vCPU `on` may do next, where the walker is."""
        vcpus, node = len(self.walker.vm), self.walker.vm[on]
        steps = dict.fromkeys(palette(self.vendor, vcpus, on, family))
        for code in steps:
            yield (code,)
        for code in steps if self.messages and family in (RACE, None) else ():
            move = self.walker.move(code)
            if not move.to and not unraced(code):
                for point, irq in self.walker.automaton.races(node, move.action, self.messages):
                    yield (*message(vcpus, on, irq.mode, point), code)
