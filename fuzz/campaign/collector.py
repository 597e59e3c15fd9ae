"""What a campaign has found: minimised, reported, kept.

A finding's folder is written before the finding counts as found, and campaign.json before it is
announced and before what a fuzzer process wrote of it is removed. Whenever the campaign is cut off,
the rest is done again.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fuzz.campaign.corpus import bound
from fuzz.campaign.folder import CORPUS
from fuzz.campaign.judging import Breaking
from fuzz.compare.signature import Form, Signature
from fuzz.findings.finding import grouped
from fuzz.memory.automaton import Automaton
from fuzz.report.folder import (
    First,
    Outcome,
    Record,
    slug_of,
    verdicts_in,
    write_form,
    write_summary,
)
from fuzz.report.mail import FILE
from fuzz.report.ruled import ruled
from fuzz.schedule.codes import schedule_of_input
from fuzz.schedule.file import read_schedule
from fuzz.schedule.order import size
from fuzz.schedule.schedule import Schedule, ScheduleError, seen_by
from fuzz.schedule.text import load
from fuzz.shrink.minimize import minimal, shortest
from variants.machine.step import Vendor
from variants.variant import Variant

BATCH: Final = 1.0
"""Seconds after which what was taken in is reported, even if there is more."""

Ran = Callable[[], tuple[int, float]]
"""How many schedules the campaign has run, and for how many seconds."""


def now() -> str:
    """The time in UTC, as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def signatures(automaton: Automaton, schedule: Schedule) -> set[Signature]:
    """What `schedule` shows."""
    return {divergence.signature for _, divergence in automaton.compare(schedule)}


class Collector:
    """Minimises and reports what fuzzer processes found; keeps the smallest for each signature.

    about: what campaign.json says of the campaign itself. ran: how far the campaign is. max_corpus:
    bytes that the inputs kept for a vendor may take. rough: signatures whose schedules are
    1-minimal and may yet be detours.
    """

    def __init__(
        self,
        automata: Mapping[Vendor, Automaton],
        variants: Sequence[Variant],
        options: Sequence[str],
        out: Path,
        about: Mapping[str, Any],
        ran: Ran,
        announce: Callable[[Form], None],
        max_corpus: int,
    ) -> None:
        self.automata = automata
        self.variants = variants
        self.options = options
        self.out = out
        self.about = about
        self.ran = ran
        self.announce = announce
        self.max_corpus = max_corpus
        self.best: dict[Signature, Form] = {}
        self.first: dict[Signature, First] = {}
        self.gone: list[Mapping[str, Any]] = []
        self.settled: dict[str, Schedule] = {}
        self.new: list[Form] = []
        self.told: dict[Signature, Form] = {}
        self.rough: dict[Signature, None] = {}
        subjects = {vendor: automaton.compared for vendor, automaton in automata.items()}
        self.breaking = Breaking(subjects)

    def restore(self, told: Mapping[str, Any], changed: bool) -> None:
        """Take in what an earlier session has left. What its reproducers no longer show is `gone`.

        told: its campaign.json. changed: variants or models have, so reproducers are minimised and
        written anew.
        """
        for one in (*told.get("signatures", ()), *told.get("gone", ())):
            self.restore_one(one, changed)
        for one in told.get("breaches", ()):
            self.breaking.take(load(json.dumps(one["schedule"])))

    def restore_one(self, told: Mapping[str, Any], changed: bool) -> None:
        """Take in a signature and its reproducer."""
        try:
            schedule = read_schedule(str(self.out / slug_of(told["signature"]) / FILE))
        except ScheduleError:
            self.gone.append({"gone": now(), **told})
            return
        automaton = self.automata[schedule.vendor]
        shown = {str(found.signature): found for _, found in automaton.compare(schedule)}
        if told["signature"] not in shown:
            self.gone.append({"gone": now(), **told})
        elif "first" in told:
            self.first[shown[told["signature"]].signature] = First(**told["first"])
        for name, divergence in shown.items():
            if changed or "gone" in told:
                self.minimize(automaton, schedule, divergence.signature)
            elif name == told["signature"]:
                self.best[divergence.signature] = Form(divergence, schedule)
                if told.get("rough"):
                    self.rough[divergence.signature] = None
                self.settled[name] = schedule
                self.breaking.take(schedule)

    def found(self) -> frozenset[str]:
        """The signatures so far."""
        return frozenset(map(str, self.best))

    def sweep(self) -> None:
        """Keep what the inputs take within bounds. Raises OSError."""
        for vendor, automaton in self.automata.items():
            bound(self.out / CORPUS / vendor, automaton.uncached, self.max_corpus)

    def end(self) -> None:
        """Judge the inputs that are kept. Raises OSError."""
        self.breaking.take_corpus(sorted((self.out / CORPUS).iterdir()))

    def collect(self, work: Path) -> bool:
        """Take in what processes have written to `work`, for a second or so, and report it. Was
        there anything?

        New signatures come first: most inputs show again what is known, and each takes its time.
        """
        began, taken = time.monotonic(), []
        written = [(path, json.loads(path.read_text())) for path in sorted(work.glob("*.json"))]
        known = set(map(str, self.best))
        for path, found in sorted(written, key=lambda one: one[1]["signature"] in known):
            self.take(bytes.fromhex(found["input"]), found["signature"])
            taken.append(path)
            if time.monotonic() - began > BATCH:
                break
        self.report()
        for path in taken:
            path.unlink()
        return bool(taken)

    def settle(self) -> bool:
        """Hold one of `rough` against a shortest schedule, and report a shorter one. Was any left?
        It takes a second or two: what is new comes first."""
        if not self.rough:
            return False
        signature, _ = self.rough.popitem()
        known = self.best[signature].schedule
        automaton = self.automata[known.vendor]
        self.keep(automaton, shortest(automaton, known, signature), signature)
        self.report()
        return True

    def waiting(self) -> int:
        """How many signatures `settle` has left."""
        return len(self.rough)

    def report(self) -> None:
        """Write the summary, if there is something new, and announce that."""
        if self.best != self.told:
            self.write_summary()
        while self.new:
            self.announce(self.new.pop(0))

    def take(self, data: bytes, told: str) -> None:
        """Minimise the signature whose text is `told`, and every one that `data` shows for the
        first time. What an earlier session has minimised only shorter inputs are good for.

        A latent divergence shows only where a schedule ends, and where no other vCPU hides it: look
        for the part that shows it.
        """
        schedule = schedule_of_input(data)
        automaton = self.automata[schedule.vendor]
        shown = signatures(automaton, schedule)
        settled = told in self.settled and size(self.settled[told]) <= size(schedule)
        for one in sorted(shown, key=str):
            if one not in self.best or (str(one) == told and not settled):
                self.minimize(automaton, schedule, one)
        if settled or told in map(str, shown):
            return
        for some in (schedule, *(seen_by(schedule, vcpu) for vcpu in range(schedule.vcpus))):
            for end in range(1, len(some.steps) + 1):
                part = some._replace(steps=some.steps[:end])
                for one in signatures(automaton, part):
                    if str(one) == told:
                        self.minimize(automaton, part, one)
                        return

    def minimize(self, automaton: Automaton, schedule: Schedule, signature: Signature) -> None:
        """Keep what `schedule` minimises to, if it is the smallest so far."""
        if self.keep(automaton, minimal(automaton, schedule, signature), signature):
            self.rough[signature] = None

    def keep(self, automaton: Automaton, smallest: Schedule, signature: Signature) -> bool:
        """Keep `smallest`, if it is the smallest so far. Is it?"""
        known = self.best.get(signature)
        if known and size(known.schedule) <= size(smallest):
            return False
        shown = next(
            found for _, found in automaton.compare(smallest) if found.signature == signature
        )
        form = Form(shown, smallest)
        write_form(self.out, automaton, form, self.options)
        self.breaking.take(smallest)
        if signature not in self.first:
            schedules, seconds = self.ran()
            name = self.out.resolve().name
            self.first[signature] = First(now(), round(seconds, 3), schedules, name)
            self.new.append(form)
        self.gone = [one for one in self.gone if one["signature"] != str(signature)]
        self.best[signature] = form
        return True

    def write_summary(self) -> None:
        outcome = self.outcome()
        write_summary(self.out, outcome, self.options, verdicts_in(self.out, outcome.forms))
        self.told = dict(self.best)

    def outcome(self) -> Outcome:
        """What has been found, also by cause with who is right."""
        forms = list(self.best.values())
        findings = ruled(self.automata, self.variants[0].name, grouped(self.variants, forms))
        record = Record(self.about, self.first, self.gone, frozenset(self.rough))
        return Outcome(*self.ran(), forms, findings, self.breaking.found, record)
