"""The Atheris target: one libFuzzer process over the joint automaton of one vendor.

Run by `fuzz.campaign.campaign` as `python -m fuzz.campaign.target`. What diverges is written to
`--findings`, and the run goes on.
"""

import argparse
import ctypes
import faulthandler
import importlib
import json
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import atheris

from fuzz.campaign.coverage import COUNTERS, ByOutline, ByState
from fuzz.campaign.mutator import (
    MAX_STEPS,
    Mutation,
    Mutator,
    crossover_of,
    seldom,
)
from fuzz.campaign.palette import CODE_BYTES, HEADER_BYTES
from fuzz.campaign.parent import end_with
from fuzz.campaign.progress import Progress
from fuzz.campaign.walker import Walker
from fuzz.compare.compared import compared
from fuzz.compare.signature import Divergence, Signature
from fuzz.compare.watch import ASK, watched
from fuzz.memory.automaton import Automaton
from fuzz.schedule.codes import schedule_of_input
from fuzz.schedule.file import write_whole
from fuzz.schedule.schedule import races
from variants.catalogue import choose
from variants.machine.step import VENDORS


def coverage_counters(count: int) -> memoryview:
    """Give libFuzzer `count` 8-bit counters of ours; call before `atheris.Setup`."""
    # libFuzzer looks for the custom mutator when it is loaded: load that first.
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    for name in ("custom_mutator", "custom_crossover"):
        importlib.import_module(f"atheris.{name}")
    sys.setdlopenflags(flags)
    core = ctypes.CDLL(None)
    if not hasattr(core, "LLVMFuzzerRunDriver"):
        # Not preloaded: Atheris brings its own.
        core = ctypes.CDLL(importlib.import_module("atheris.core_with_libfuzzer").__file__)
    buffer = (ctypes.c_uint8 * count)()
    start = ctypes.addressof(buffer)
    core.__sanitizer_cov_8bit_counters_init(ctypes.c_void_p(start), ctypes.c_void_p(start + count))
    # One entry a counter: an address libFuzzer never dereferences, and no flags.
    table = (ctypes.c_size_t * (2 * count))(*(word for n in range(count) for word in (n + 1, 0)))
    table_start = ctypes.addressof(table)
    table_end = table_start + ctypes.sizeof(table)
    core.__sanitizer_cov_pcs_init(ctypes.c_void_p(table_start), ctypes.c_void_p(table_end))
    KEPT.append(table)
    return memoryview(buffer).cast("B")


P = ParamSpec("P")
R = TypeVar("R")

KEPT: list[object] = []
"""What libFuzzer holds pointers to."""

MAX_INPUT: Final = HEADER_BYTES + CODE_BYTES * (MAX_STEPS + 1)
"""Bytes. The mutator walks one code more than it keeps: a message and the step that it lands in."""

MAX_EDGES: Final = 3_000_000
MAX_MIXED_EDGES: Final = 400_000
"""How much the automaton remembers. An edge of mixed inputs takes more memory: they recur less."""

INPUTS_A_SIGNATURE: Final = 4
"""How many inputs to record for one signature, with and without races: minimising keeps the best
of what they lead to, and what another vCPU hides is in none of them."""


class Findings:
    """Writes the inputs that show a divergence class in a way not met before.

    name: what the names of its files begin with. current: the input that runs.
    """

    def __init__(self, folder: Path, name: str = "") -> None:
        self.folder = folder
        self.name = name or str(os.getpid())
        self.seen: Counter[tuple[Signature, bool]] = Counter()
        self.written = 0
        self.current = b""
        self.progress = Progress(folder, self.name)

    def __call__(self, divergences: tuple[Divergence, ...]) -> None:
        for divergence in divergences:
            way = (divergence.signature, races(schedule_of_input(self.current)))
            self.seen[way] += 1
            if self.seen[way] <= INPUTS_A_SIGNATURE:
                self.written += 1
                found = {
                    "signature": str(divergence.signature),
                    "input": self.current.hex(),
                    "runs": self.progress.runs,
                    "seconds": self.progress.elapsed,
                }
                write_whole(self.folder / f"{self.name}-{self.written}.json", json.dumps(found))


def runner(
    walker: Walker, counters: bytearray | memoryview, by_edge: bool = False
) -> Callable[[bytes], None]:
    """A function that runs an input. by_edge: count edges, not nodes."""

    def run(data: bytes) -> None:
        for node in walker.walk(data):
            counters[node.counter] = 1

    def run_by_edge(data: bytes) -> None:
        before = 0
        for node in walker.walk(data):
            counters[(before * 31 + node.counter) % COUNTERS] = 1
            before = node.counter

    return run_by_edge if by_edge else run


def target(findings: Findings, run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The function libFuzzer calls: `run`, with a note of the input and of progress."""

    def counted(data: bytes) -> None:
        findings.current = data
        findings.progress.count()
        run(data)

    return counted


def guarded(call: Callable[P, R]) -> Callable[P, R]:
    """Atheris hangs when a mutator raises, as a variant may make it, or libFuzzer does over an
    option: end instead."""

    def guard(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return call(*arguments, **named)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    return guard


def hand_over(
    arguments: Sequence[str], run: Callable[[bytes], None], mutate: Mutation, mix: bool
) -> None:
    """Hand over to libFuzzer, which ends the process. arguments: its own."""
    atheris.Setup(
        [sys.argv[0], f"-max_len={MAX_INPUT}", *arguments],
        run,
        custom_mutator=guarded(mutate),
        custom_crossover=guarded(seldom(crossover_of(mix), mutate)),
    )
    atheris.Fuzz()


def main() -> None:
    """Parse the campaign's arguments and fuzz."""
    parser = argparse.ArgumentParser(prog="fuzz.campaign.target")
    parser.add_argument("--vendor", choices=VENDORS, required=True)
    parser.add_argument("--variants", default="")
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--name", default="", help="what the names of files there begin with")
    parser.add_argument("--parent", type=int, help="the process to end with")
    parser.add_argument("--seconds", type=int, default=0, help="0: until it is stopped")
    parser.add_argument("--coverage", choices=("outline", "state", "edge"), default="outline")
    parser.add_argument("--mix", action="store_true")
    parser.add_argument("--turn", type=int, default=0, help="how many others fuzz the same")
    parser.add_argument("libfuzzer", nargs="*")
    options = parser.parse_args()
    if options.parent:
        end_with(options.parent, signal.SIGKILL)
    counters = coverage_counters(COUNTERS)
    findings = Findings(options.findings, options.name)
    variants = choose(options.variants, options.variant)
    counting = ByState() if options.coverage == "state" else ByOutline()
    edges = MAX_MIXED_EDGES if options.mix else MAX_EDGES
    automaton = Automaton(compared(options.vendor, variants), findings, counting, edges)

    walker = Walker(automaton)
    run = runner(walker, counters, options.coverage == "edge")

    def note(data: bytes) -> None:
        findings.current = data

    def tried(data: bytes) -> None:
        findings.current = data
        findings.progress.count()

    faulthandler.register(ASK, all_threads=False)
    # Steps have their own watch; libFuzzer's would take one that stands still for one that hangs.
    arguments = ["-reload=5", "-timeout=1000000", f"-max_total_time={options.seconds}"]
    arguments += options.libfuzzer
    mutator = Mutator(options.vendor, walker, note, tried, options.mix, turn=options.turn)
    with watched():
        guarded(hand_over)(arguments, target(findings, run), mutator, options.mix)


if __name__ == "__main__":
    main()
