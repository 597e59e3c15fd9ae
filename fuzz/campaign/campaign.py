"""A campaign: a crew that fuzzes, and the process that collects, minimises and reports.

What the crew finds is written to the campaign's folder; this process minimises each finding as it
comes and writes its report before it announces it. Ctrl-C ends the campaign as the time limit does,
with everything found so far reported; a second one, and whatever else ends this process, leaves a
folder that the next session goes on with.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, Protocol

from fuzz.campaign.collector import Collector, Ran, now
from fuzz.campaign.folder import CORPUS, LOG, WORK, Before, counts_in, enter, make_room, rotate
from fuzz.campaign.inputs import add_inputs
from fuzz.campaign.statistics import Statistics
from fuzz.campaign.status import Noting
from fuzz.compare.compared import StepError
from fuzz.compare.signature import Form
from fuzz.compare.watch import HangError
from fuzz.explore.certificate import hashes
from fuzz.memory.automaton import Automaton
from fuzz.report.folder import Outcome, verdicts_in, write_traces
from fuzz.schedule.schedule import Schedule
from variants.machine.step import Vendor
from variants.variant import Variant

SWEEP: Final = 60.0
"""Seconds between two looks at what inputs and logs take."""
SETTLES: Final = 30.0
"""For how many seconds nothing is new before what can wait is done."""
TICK: Final = 0.2
"""Seconds between two looks at the crew."""

Progress = Callable[[], None]
"""Called when the folder tells anew how the campaign stands."""


class Ends(NamedTuple):
    """What ends a session by itself, whichever comes first.

    seconds: its length. quiet: seconds without a new signature or a new counter. wanted: signatures
    that are all found. Each None if it does not count.
    """

    seconds: int | None = None
    quiet: int | None = None
    wanted: frozenset[str] | None = None

    def reached(self, quiet: float, found: Iterable[str]) -> bool:
        """Is it time to end, but for `seconds`, which the crew keeps itself? quiet: for how long
        nothing was new. found: the signatures so far."""
        if self.quiet is not None and quiet >= self.quiet:
            return True
        return self.wanted is not None and self.wanted <= set(found)

    def enough(self, vendor: Vendor, found: Iterable[str]) -> bool:
        """Is all found that is wanted of `vendor`?"""
        if self.wanted is None:
            return False
        return not any(one.startswith(f"{vendor}: ") for one in self.wanted - set(found))


class Settings(NamedTuple):
    """variants: what is compared, and `options`, which choose them. resume: go on
    with the campaign in `out`. seed: 0 lets libFuzzer choose. mix: also fuzz what no exploration
    has covered. max_corpus: bytes that the inputs kept for a vendor may take. expected: all
    signatures there are, if that is known. given: schedules to begin with."""

    vendors: tuple[Vendor, ...]
    ends: Ends
    out: Path
    resume: bool
    variants: tuple[Variant, ...]
    options: tuple[str, ...]
    seed: int
    mix: bool
    max_corpus: int
    expected: frozenset[str] | None = None
    given: Sequence[Schedule] = ()


class Crew(Protocol):
    """Who fuzzes for a campaign. What it finds is in the campaign's folder: inputs in `corpus`,
    findings and counts in `work`."""

    def works(self) -> bool:
        """Is there more to come? Called again and again: does what is due."""

    def wrong(self) -> str:
        """What has gone wrong, in one line; "" if nothing has."""

    def alive(self) -> int:
        """How many fuzz at the moment."""

    def coverage(self) -> int:
        """How many counters were hit."""

    def enough(self, vendor: Vendor) -> None:
        """Nothing more is wanted of `vendor`: who fuzzes it turns to the others."""

    def stop(self) -> None:
        """End what still runs. Then all that was found is in the folder."""


class Keeper(Protocol):
    """Takes in what a crew finds."""

    @property
    def ran(self) -> Ran: ...

    def found(self) -> frozenset[str]:
        """The signatures so far."""

    def collect(self, work: Path) -> bool:
        """Take in some of what is in `work`, and report it. Was there anything?"""

    def settle(self) -> bool:
        """Do some of what can wait. Was there anything?"""

    def waiting(self) -> int:
        """How many signatures wait for that."""

    def sweep(self) -> None:
        """Keep what the inputs take within bounds. Raises OSError."""

    def end(self) -> None:
        """Do what can be done only when all is over. Raises OSError."""


Recruit = Callable[[Settings, int], Crew]
"""Gives a session its crew, which begins at once. The number is the session's."""


class FuzzerError(Exception):
    """A variant or the crew failed; what was found before is reported."""


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


def clock(out: Path, before: Before) -> Ran:
    """How much the campaign in `out` has run, with what came `before` this session."""
    began = time.monotonic()

    def ran() -> tuple[int, float]:
        counts = counts_in(out / WORK, before.sessions + 1)
        seconds = before.seconds + time.monotonic() - began
        return before.schedules + sum(runs for runs, _ in counts), seconds

    return ran


def run(
    automata: dict[Vendor, Automaton],
    settings: Settings,
    recruit: Recruit,
    announce: Callable[[Form], None],
    progress: Progress,
) -> Outcome:
    """Run a session: until one of `settings.ends`, or a signal that asks for it.

    Raises FolderError if the folder cannot be used, OSError when it cannot be written, and
    FuzzerError once the reports are.
    """
    out, variants, options = settings.out, settings.variants, settings.options
    with ExitStack() as stack:
        before = enter(stack, out, settings.resume)
        asked = stack.enter_context(asked_to_end())
        told, ran = about(settings, before), clock(out, before)
        most = settings.max_corpus
        collector = Collector(automata, variants, options, out, told, ran, announce, most)
        collector.restore(before.told, before.told.get("compared") != told["compared"])
        collector.write_summary()
        # campaign.json has the counts of earlier sessions now.
        make_room(out, settings.vendors, before.sessions + 1)
        add_inputs(out / CORPUS, settings.given, settings.mix)
        collector.report()
        crew = recruit(settings, before.sessions + 1)
        stack.callback(crew.stop)
        statistics = Statistics(out, before.seconds)
        pulse = noting(settings, before.seconds)
        trouble = fuzz(settings, crew, collector, statistics, pulse, asked, progress)
        collector.write_summary()
        outcome = collector.outcome()
        if trouble:
            raise FuzzerError(trouble)
    write_traces(out, outcome.findings, options, verdicts_in(out, outcome.forms))
    return outcome


def fuzz(
    settings: Settings,
    crew: Crew,
    collector: Keeper,
    statistics: Statistics,
    pulse: Noting,
    asked: Callable[[], bool],
    progress: Progress,
) -> str:
    """Take in what `crew` finds until it is time to end, and all that is left then; what went
    wrong, "" if nothing did. asked: if the session was asked to end."""
    out, trouble, swept = settings.out, "", 0.0

    def note() -> float:
        """Tell how far the campaign is; for how many seconds nothing was new."""
        schedules, seconds = collector.ran()
        found = collector.found()
        statistics.note(seconds, schedules, len(found), crew.coverage(), out / CORPUS)
        quiet = seconds - statistics.new_at
        most = statistics.last.coverage
        alive, rough = crew.alive(), collector.waiting()
        if pulse.note((schedules, seconds), quiet, alive, most, found, rough):
            progress()
        return quiet

    try:
        while not trouble and crew.works():
            quiet = note()
            if asked() or settings.ends.reached(quiet, collector.found()):
                break
            for vendor in settings.vendors:
                if settings.ends.enough(vendor, collector.found()):
                    crew.enough(vendor)
            time.sleep(TICK)
            if time.monotonic() - swept > SWEEP:
                swept = time.monotonic()
                collector.sweep()
                rotate(out / LOG)
            if not collector.collect(out / WORK) and quiet > SETTLES:
                collector.settle()
            trouble = crew.wrong()
        # Also of one that has died since.
        trouble = trouble or crew.wrong()
        ending = asked()
        pulse.finish(collector.ran()[1])
        note()
        crew.stop()
        while collector.collect(out / WORK) or collector.settle():
            note()
            if asked() and not ending:
                raise KeyboardInterrupt
        if not trouble:
            collector.end()
    except (StepError, HangError) as error:
        trouble = str(error)
    crew.stop()
    statistics.due = pulse.due = 0.0
    note()
    return trouble


def noting(settings: Settings, seconds: float) -> Noting:
    """What notes how a session stands that begins in second `seconds` of its campaign."""
    timed, until_quiet, wanted = settings.ends
    end = None if timed is None else seconds + timed
    expected = settings.expected if wanted is None else wanted
    return Noting(settings.out, end, until_quiet, expected, wanted is not None)
