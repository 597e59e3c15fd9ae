"""Going on from inputs in every way, as an exploration does, in an order of the fuzzer's own.

libFuzzer runs one mutation at a time of an input that it chooses. There are many thousand joint
vCPUs, each with up to a hundred ways on, so most mutations would go where others have gone. Here
each joint vCPU is gone on from once, in every way, when its turn comes, and again where a way there
turns out to be shorter; races that come to the same are one way. Turns go round
(`fuzz.campaign.turns`): families of events, whether variants differ inside, how many are still
compared, which and how they differ, and outlines (`fuzz.campaign.coverage`). So what is rare has
its turn soon, and what may be behind it is seen. Every second turn is of who has waited longest,
whatever its outline: what takes many steps of a usual kind is not far then. When the automaton
forgets, all begins anew.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from fuzz.campaign.palette import RACE, code_bytes, message, palette, steps_in, unraced
from fuzz.campaign.turns import Turns
from fuzz.campaign.walker import Walker
from fuzz.memory.node import Node
from fuzz.schedule.alphabet import vector_of
from fuzz.schedule.codes import header
from variants.machine.step import MIN_VCPUS, Vendor
from variants.machine.vcpu import Irq

OLDEST: Final = "oldest"
BY_OUTLINE: Final = "by outline"
"""The two places at which what is alike but for its outline waits for its turn."""
SHORTER: Final = 2
"""By how many steps a way to a joint vCPU has to be shorter for it to be gone on from again: what
is far behind it would else be too far."""


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
        self._met: dict[tuple[int, str | None], int] = {}
        self._gone_on: set[Start] = set()
        self._fresh: list[bytes] = []
        self._generation = -1
        self._later: list[Sequence[str | None]] = []

    def put(self, node: Node, start: Start) -> bool:
        """`start` leads to `node`. Is its outline new?"""
        met, steps = (id(node), start.family), steps_in(start.data)
        known = self._met.get(met)
        if steps >= self.most or (known is not None and steps > known - SHORTER):
            return False
        self._met[met] = steps
        left = node.left.groups
        kind = (start.family, bool(node.latent), sum(map(len, left)), (left, node.latent))
        self._turns.put((*kind, OLDEST), start)
        return self._turns.put((*kind, BY_OUTLINE, node.counter), start)

    def go_on(self, drawn: random.Random) -> bytes | None:
        """Go on from a joint vCPU. Gives an input that did, those first that led to new outlines;
        None if there is none left to go on from."""
        if self.walker.automaton.generation != self._generation:
            for forgotten in (self._met, self._gone_on, self._turns):
                forgotten.clear()
            self._later[:] = self.families
        if not self._fresh and (start := self._next(drawn)):
            longer = start.data
            for longer, node in self._led(start):
                if self.put(node, start._replace(data=longer)):
                    self._fresh.append(longer)
            self._fresh = self._fresh or [longer]
        return self._fresh.pop() if self._fresh else None

    def _next(self, drawn: random.Random) -> Start | None:
        """Whose turn it is, if there is anyone."""
        while self._turns or self._later:
            if not self._turns:
                self._begin(self._later.pop(0))
                continue
            start = self._turns.take(lambda bound: int(drawn.random() * bound))
            if start not in self._gone_on:
                self._gone_on.add(start)
                return start
            # It waited at the other place too.
            self._gone_on.remove(start)
        return None

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
