"""A campaign: fuzzer processes, and the one that collects, minimises and reports.

Each process fuzzes one vendor. It writes what it finds to a folder; this process minimises each
finding as it comes and writes its report before it announces it. Ctrl-C ends the campaign as
the time limit does, with everything found so far reported.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from fuzz.campaign.judging import Breaking
from fuzz.campaign.statistics import Statistics
from fuzz.compare.compared import StepError
from fuzz.compare.signature import Form, Signature
from fuzz.compare.watch import ASK, HangError
from fuzz.findings.finding import grouped
from fuzz.memory.automaton import Automaton
from fuzz.report.folder import Outcome, write_form, write_summary, write_traces
from fuzz.report.ruled import ruled
from fuzz.schedule.codes import fuzz_input, schedule_of_input
from fuzz.schedule.file import write_whole
from fuzz.schedule.order import size
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.seeds import seed_files
from fuzz.schedule.text import load
from fuzz.shrink.atlas import atlas_of
from fuzz.shrink.minimize import minimize
from variants.machine.step import MIN_VCPUS, Vendor
from variants.variant import Variant

GRACE: Final = 10
"""Seconds after its time in which a process has to start and to end."""
MAX_SEED: Final = 2**32 - 1
"""The greatest that libFuzzer takes."""


class Settings(NamedTuple):
    """seconds: how long to fuzz. variants: what is compared, and `options`, which choose them.
    seed: 0 lets libFuzzer choose. mix: also fuzz what no exploration has covered."""

    vendors: tuple[Vendor, ...]
    seconds: int
    out: Path
    variants: tuple[Variant, ...]
    options: tuple[str, ...]
    seed: int
    mix: bool


class Fuzzer(NamedTuple):
    """A fuzzer process, and what it says."""

    process: "subprocess.Popen[bytes]"
    log: Path
    vendor: Vendor


def write_seeds(folder: Path, vendor: Vendor) -> None:
    """The seed schedules of `vendor` as fuzzer inputs. Raises OSError."""
    for path in seed_files():
        schedule = load(path.read_text(), path.stem)
        if schedule.vendor == vendor and schedule.vcpus == MIN_VCPUS:
            write_whole(folder / path.stem, fuzz_input(schedule))


def signatures(automaton: Automaton, schedule: Schedule) -> set[Signature]:
    """What `schedule` shows."""
    return {divergence.signature for _, divergence in automaton.compare(schedule)}


class Collector:
    """Minimises and reports what the processes found; keeps the smallest for each signature."""

    def __init__(
        self,
        automata: dict[Vendor, Automaton],
        settings: Settings,
        announce: Callable[[Form], None],
    ) -> None:
        self.automata = automata
        self.settings = settings
        self.announce = announce
        self.best: dict[Signature, Form] = {}
        subjects = {vendor: automaton.compared for vendor, automaton in automata.items()}
        self.breaking = Breaking(subjects)

    def take(self, data: bytes, told: str) -> None:
        """Minimise the signature whose text is `told`, and every one that `data` shows for the
        first time.

        A latent divergence shows only where a schedule ends: look for the prefix that does.
        """
        schedule = schedule_of_input(data)
        automaton = self.automata[schedule.vendor]
        shown = signatures(automaton, schedule)
        for one in sorted(shown, key=str):
            if str(one) == told or one not in self.best:
                self.minimize(automaton, schedule, one)
        if told in map(str, shown):
            return
        for end in range(len(schedule.steps)):
            prefix = schedule._replace(steps=schedule.steps[:end])
            for one in signatures(automaton, prefix):
                if str(one) == told:
                    self.minimize(automaton, prefix, one)
                    return

    def minimize(self, automaton: Automaton, schedule: Schedule, signature: Signature) -> None:
        """Keep and report what `schedule` minimises to, if it is the smallest so far."""
        smallest = minimize(automaton, schedule, signature)
        known = self.best.get(signature)
        if known and size(known.schedule) <= size(smallest):
            return
        shown = next(
            found for _, found in automaton.compare(smallest) if found.signature == signature
        )
        form = Form(shown, smallest)
        self.best[signature] = form
        self.breaking.take(smallest)
        write_form(self.settings.out, automaton, form, self.settings.options)
        if not known:
            self.announce(form)

    def write_summary(self, schedules: int, seconds: float) -> None:
        outcome = self.outcome(schedules, seconds)
        write_summary(self.settings.out, outcome, self.settings.options)

    def outcome(self, schedules: int, seconds: float) -> Outcome:
        """What has been found, also by cause with who is right."""
        variants, forms = self.settings.variants, list(self.best.values())
        findings = ruled(self.automata, variants[0].name, grouped(variants, forms))
        return Outcome(schedules, seconds, forms, findings, self.breaking.found)


def start(vendor: Vendor, number: int, settings: Settings, work: Path) -> Fuzzer:
    """Start fuzzer process `number` of the campaign. It imports what this process imports."""
    corpus = work / f"corpus-{vendor}"
    command = [sys.executable, "-m", "fuzz.campaign.target", "--vendor", vendor, *settings.options]
    command += ["--mix"] if settings.mix else []
    command += ["--findings", str(work), "--", f"-max_total_time={settings.seconds}"]
    command += ["-rss_limit_mb=0"]
    seed = (settings.seed + number - 1) % MAX_SEED + 1 if settings.seed else 0
    command += [f"-seed={seed}", str(corpus)]
    imports = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    path = work / f"{vendor}-{number}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=work,
            env={**os.environ, "PYTHONPATH": imports, "PYTHONHASHSEED": "0"},
            start_new_session=True,
        )
    return Fuzzer(process, path, vendor)


def schedules_run(work: Path) -> int:
    """How many schedules the processes have run, from the files they keep."""
    counts = [path.read_text().split() for path in work.glob("*.count")]
    return sum(int(count[0]) for count in counts if count)


def run(
    automata: dict[Vendor, Automaton],
    settings: Settings,
    announce: Callable[[Form], None],
    progress: Callable[[int, float, int], None],
) -> Outcome:
    """Fuzz for `settings.seconds`, or until SIGINT or SIGTERM.

    Raises OSError when the reports cannot be written, and FuzzerError once they are.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        work = Path(tempfile.mkdtemp(prefix="eventdiff-"))
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        for vendor in settings.vendors:
            (work / f"corpus-{vendor}").mkdir()
            write_seeds(work / f"corpus-{vendor}", vendor)
        collector = Collector(automata, settings, announce)
        collector.write_summary(0, 0.0)
        statistics = Statistics(settings.out)
        began = time.monotonic()
        workers = max(len(settings.vendors), os.cpu_count() or 1)
        fuzzers: list[Fuzzer] = []
        stack.callback(stop, fuzzers)
        for number in range(workers):
            vendor = settings.vendors[number % len(settings.vendors)]
            fuzzers.append(start(vendor, number, settings, work))
        own = ", ".join(file for name, file in pairwise(settings.options) if name == "--variant")
        trouble = ""

        def note() -> None:
            elapsed, logs = time.monotonic() - began, {one.log: one.vendor for one in fuzzers}
            statistics.note(schedules_run(work), elapsed, len(collector.best), logs)

        try:
            try:
                while not trouble and any(one.process.poll() is None for one in fuzzers):
                    time.sleep(0.2)
                    late = time.monotonic() - began > settings.seconds + GRACE
                    known = dict(collector.best)
                    note()
                    collect(work, collector, note)
                    ran, seconds = schedules_run(work), time.monotonic() - began
                    if collector.best != known:
                        collector.write_summary(ran, seconds)
                    progress(ran, seconds, len(collector.best))
                    wrong = [gone_wrong(fuzzer, late, own) for fuzzer in fuzzers]
                    trouble = next(filter(None, wrong), "")
            except KeyboardInterrupt:
                # It may have come in the middle of a search.
                atlas_of.cache_clear()
            stop(fuzzers)
            collect(work, collector, note)
            note()
        except (StepError, HangError) as error:
            trouble = str(error)
        schedules, seconds = schedules_run(work), time.monotonic() - began
        if not trouble:
            try:
                collector.breaking.take_corpus(sorted(work.glob("corpus-*")))
            except KeyboardInterrupt:
                pass  # Another Ctrl-C: what was judged so far will do.
            except (StepError, HangError) as error:
                trouble = str(error)
        collector.write_summary(schedules, seconds)
        if trouble:
            raise FuzzerError(trouble)
    outcome = collector.outcome(schedules, seconds)
    write_traces(settings.out, outcome.findings, settings.options, {})
    return outcome


class FuzzerError(Exception):
    """A variant or a fuzzer process failed; what was found before is reported."""


def gone_wrong(fuzzer: Fuzzer, late: bool, own: str) -> str:
    """What is wrong with a process, in one line: it died, or is `late` to end; else "".

    own: the user's variants, to be named where nothing says which it was.
    """
    process, log, _ = fuzzer
    status = process.poll()
    if status is None and not late:
        return ""
    if status is None:
        process.send_signal(ASK)
        time.sleep(0.5)
    said = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    if status is None:
        where = [line for line in said if line.startswith("File ")]
        return f"a fuzzer process does not end: {where[0] if where else 'killed'}"
    if status == 0 and any(line.startswith("Done ") for line in said):
        return ""
    errors = [line for line in said if "Error: " in line and not line.startswith("==")]
    if errors:
        _, _, variants_own = errors[-1].partition("StepError: ")
        return variants_own or f"a fuzzer process died: {errors[-1]}"
    how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
    return f"a fuzzer process died: it ended early {how}{own and f', with {own}'}"


def collect(work: Path, collector: Collector, note: Callable[[], None]) -> None:
    """Take in what is new; each is removed only once it is reported. note: called after each."""
    for path in sorted(work.glob("[0-9]*.json")):
        found = json.loads(path.read_text())
        collector.take(bytes.fromhex(found["input"]), found["signature"])
        path.unlink()
        note()


def stop(fuzzers: Sequence[Fuzzer]) -> None:
    """End what still runs."""
    for fuzzer in fuzzers:
        if fuzzer.process.poll() is None:
            fuzzer.process.kill()
    for fuzzer in fuzzers:
        fuzzer.process.wait()
