"""A fuzz target by itself, under libFuzzer's flags alone: for ClusterFuzzLite and OSS-Fuzz.

What a campaign writes down and goes on from ends it: a divergence whose signature is not known is a
crash. libFuzzer keeps the input, and the exception says what it shows, with a reproducer.
"""

from collections.abc import Container, Sequence

from fuzz.campaign.coverage import COUNTERS, ByOutline
from fuzz.campaign.mutator import Mutator
from fuzz.campaign.palette import HEADER_BYTES, code_bytes
from fuzz.campaign.target import coverage_counters, hand_over, runner
from fuzz.campaign.walker import Walker
from fuzz.compare.compared import compared
from fuzz.compare.signature import Divergence, Signature
from fuzz.memory.automaton import Automaton
from fuzz.schedule.codes import header, schedule_of_input, vcpus_of
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import dump
from fuzz.shrink.minimize import minimize, shows
from variants.catalogue import choose
from variants.machine.step import Vendor


class NewDivergence(Exception):
    """A divergence that is not known: its signature, and a schedule that shows it."""


class Unknown:
    """Takes note of the first divergence that is not `known`.

    signature: its signature. input: what showed it. current: what runs.
    """

    def __init__(self, known: Container[str]) -> None:
        self.known = known
        self.signature: Signature | None = None
        self.input = b""
        self.current = b""

    def __call__(self, divergences: tuple[Divergence, ...]) -> None:
        for divergence in divergences:
            if self.signature is None and str(divergence.signature) not in self.known:
                self.signature, self.input = divergence.signature, self.current

    def note(self, data: bytes) -> None:
        """`data` is about to run."""
        self.current = data


def of_vendor(vendor: Vendor, data: bytes) -> bytes:
    """An input with a header that says `vendor`, as whose it runs whatever its own says."""
    vcpus = vcpus_of(int.from_bytes(data[:HEADER_BYTES], "little"))
    return code_bytes(header(vendor, vcpus, 0)) + data[HEADER_BYTES:]


def reproducer(automaton: Automaton, schedule: Schedule, signature: Signature) -> Schedule:
    """The smallest schedule for `signature`, which `schedule` or a beginning of it shows."""
    for end in range(1, len(schedule.steps) + 1):
        beginning = schedule._replace(steps=schedule.steps[:end])
        if shows(automaton, beginning, signature) is not None:
            return minimize(automaton, beginning, signature)
    return schedule


def fuzz(vendor: Vendor, known: Container[str], arguments: Sequence[str]) -> None:
    """Fuzz the project's variants until something is found that is not `known`, and end.

    known: signatures. arguments: libFuzzer's flags and corpora.
    """
    counters = coverage_counters(COUNTERS)
    unknown = Unknown(known)
    automaton = Automaton(compared(vendor, choose("", [])), unknown, ByOutline())
    walker = Walker(automaton)
    run = runner(walker, counters)
    mutator = Mutator(vendor, walker, unknown.note, unknown.note)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        # The mutator walks what it makes. What it meets on its way is what is to run, and is kept.
        try:
            mutated = mutator(data, size, seed)
        except Exception:
            return unknown.current
        return unknown.input if unknown.signature else mutated

    def run_or_crash(data: bytes) -> None:
        unknown.note(data)
        # The start: libFuzzer wants its first input, which has no steps, to hit something too.
        counters[0] = 1
        run(data)
        if unknown.signature:
            schedule = schedule_of_input(of_vendor(vendor, unknown.input))
            shown = reproducer(automaton, schedule, unknown.signature)
            raise NewDivergence(f"{unknown.signature}\n{dump(shown)}")

    hand_over(arguments, run_or_crash, mutate, mix=False)
