"""A campaign: fuzzer processes, and the one that collects, minimises and reports.

Each process fuzzes one vendor. It writes what it finds to the campaign's folder; this process
minimises each finding as it comes and writes its report before it announces it. Ctrl-C ends the
campaign as the time limit does, with everything found so far reported; a second one, and whatever
else ends this process, leaves a folder that the next session goes on with.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from fuzz.campaign.collector import Collector, now
from fuzz.campaign.corpus import bound
from fuzz.campaign.folder import CORPUS, LOG, WORK, Before, Way, counts_in, enter, make_room, rotate
from fuzz.campaign.processes import Fuzzer, Task, gone_wrong, seed_of, start, stop
from fuzz.campaign.statistics import Statistics, coverage_told
from fuzz.compare.compared import StepError
from fuzz.compare.signature import Form
from fuzz.compare.watch import HangError
from fuzz.explore.certificate import hashes
from fuzz.memory.automaton import Automaton
from fuzz.report.folder import Outcome, write_traces
from variants.machine.step import Vendor
from variants.variant import Variant

GRACE: Final = 10
"""Seconds after its time in which a process has to start and to end."""
SWEEP: Final = 60.0
"""Seconds between two looks at what inputs and logs take."""
TICK: Final = 0.2
"""Seconds between two looks at the processes."""


class Ends(NamedTuple):
    """What ends a session by itself, whichever comes first.

    seconds: its length. quiet: seconds without a new signature or a new counter. wanted: signatures
    that are all found. Each None if it does not count.
    """

    seconds: int | None = None
    quiet: int | None = None
    wanted: frozenset[str] | None = None


class Settings(NamedTuple):
    """variants: what is compared, and `options`, which choose them. way: what to do about a
    campaign that is in `out`. seed: 0 lets libFuzzer choose. mix: also fuzz what no exploration
    has covered. max_corpus: bytes that the inputs kept for a vendor may take."""

    vendors: tuple[Vendor, ...]
    ends: Ends
    out: Path
    way: Way
    variants: tuple[Variant, ...]
    options: tuple[str, ...]
    seed: int
    mix: bool
    max_corpus: int


class FuzzerError(Exception):
    """A variant or a fuzzer process failed; what was found before is reported."""


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Tells if SIGINT, SIGTERM or SIGHUP has come; a second one raises KeyboardInterrupt."""
    asked: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN  # As by nohup.
    ]
    for number in numbers:
        signal.signal(number, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)


def about(settings: Settings, before: Before) -> dict[str, Any]:
    """What campaign.json says of the campaign itself."""
    return {
        "version": program_version(),
        "vendors": list(settings.vendors),
        "mix": settings.mix,
        "compared": hashes(settings.variants),
        "began": before.told.get("began", now()),
        "session": {
            "number": before.sessions + 1,
            "schedules": before.schedules,
            "seconds": round(before.seconds, 3),
        },
    }


def program_version() -> str:
    try:
        return version("kvm-eventdiff")
    except PackageNotFoundError:
        return "not installed"


def run(
    automata: dict[Vendor, Automaton],
    settings: Settings,
    announce: Callable[[Form], None],
    progress: Callable[[int, float, int], None],
) -> Outcome:
    """Run a session: until one of `settings.ends`, or a signal that asks for it.

    Raises FolderError if the folder cannot be used, OSError when it cannot be written, and
    FuzzerError once the reports are.
    """
    out, ends, trouble = settings.out, settings.ends, ""
    with ExitStack() as stack:
        before = enter(stack, out, settings.way)
        asked = stack.enter_context(asked_to_end())
        began = time.monotonic()
        session = before.sessions + 1

        def ran() -> tuple[int, float]:
            runs = sum(runs for runs, _ in counts_in(out / WORK, session))
            return before.schedules + runs, before.seconds + time.monotonic() - began

        told = about(settings, before)
        collector = Collector(
            automata, settings.variants, settings.options, out, told, ran, announce
        )
        collector.restore(before.told, before.told.get("compared") != told["compared"])
        collector.write_summary()
        make_room(out, settings.vendors, session)
        collector.report()
        statistics = Statistics(out, before.seconds)
        fuzzers: list[Fuzzer] = []
        stack.callback(stop, fuzzers)
        for fuzzer in started(settings, session):
            fuzzers.append(fuzzer)
        own = ", ".join(file for name, file in pairwise(settings.options) if name == "--variant")

        def note() -> None:
            coverage = coverage_told({one.log: one.vendor for one in fuzzers})
            schedules, seconds = ran()
            statistics.note(seconds, schedules, len(collector.best), coverage, out / CORPUS)
            progress(schedules, seconds, len(collector.best))

        def goes_on() -> bool:
            quiet = ran()[1] - statistics.new_at
            found = ends.wanted is not None and ends.wanted <= set(map(str, collector.best))
            if trouble or asked() or found or (ends.quiet is not None and quiet >= ends.quiet):
                return False
            return any(one.process.poll() is None for one in fuzzers)

        try:
            swept = -SWEEP
            while goes_on():
                time.sleep(TICK)
                if time.monotonic() - swept > SWEEP:
                    swept = time.monotonic()
                    for vendor, automaton in automata.items():
                        bound(out / CORPUS / vendor, automaton.uncached, settings.max_corpus)
                    rotate(out / LOG)
                lasted = time.monotonic() - began
                late = ends.seconds is not None and lasted > ends.seconds + GRACE
                collector.collect(out / WORK)
                note()
                trouble = next(filter(None, (gone_wrong(one, late, own) for one in fuzzers)), "")
            stop(fuzzers)
            while collector.collect(out / WORK):
                note()
            if not trouble:
                collector.breaking.take_corpus(sorted((out / CORPUS).iterdir()))
        except (StepError, HangError) as error:
            trouble = str(error)
        stop(fuzzers)
        statistics.due = 0.0
        note()
        collector.write_summary()
        outcome = collector.outcome()
        if trouble:
            raise FuzzerError(trouble)
    write_traces(out, outcome.findings, settings.options, {})
    return outcome


def started(settings: Settings, session: int) -> Iterator[Fuzzer]:
    """Start the fuzzer processes: one a core, and at least one a vendor."""
    options = (*settings.options, *(["--mix"] if settings.mix else []))
    for number in range(max(len(settings.vendors), os.cpu_count() or 1)):
        vendor = settings.vendors[number % len(settings.vendors)]
        name = f"{session}-{vendor}-{number}"
        seed = seed_of(settings.seed, number)
        task = Task(vendor, name, options, settings.ends.seconds or 0, seed)
        yield start(task, settings.out)
