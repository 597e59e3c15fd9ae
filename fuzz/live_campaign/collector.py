"""What a live campaign has found: minimised on real KVM, seen three times in fresh VMs, written.

It runs the plain kernels, in emulators of its own. A difference is told by its looks, and explained
and minimised as a review does it (`fuzz.review.hunt`); here the fuzzer proposes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fuzz.campaign.campaign import Settings
from fuzz.campaign.collector import Ran, now
from fuzz.campaign.corpus import bound
from fuzz.campaign.folder import CORPUS, WORK
from fuzz.live_campaign.kernels import live_schedule
from fuzz.live_campaign.report import Outcome, signature_of, write_found, write_summary
from fuzz.report.folder import First
from fuzz.review.findings import Found
from fuzz.review.hunt import Hunt
from fuzz.review.journal import Journal
from fuzz.schedule.file import append_line
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import load, schedule_json
from variants.machine.step import Vendor

TOGETHER: Final = 16
"""Inputs that are taken in at a time."""
TROUBLES: Final = "troubles.jsonl"

Announce = Callable[[str, Found], None]
"""Given a new signature, and what it is."""


class Collector:
    """names: the variants, the base first. about: what campaign.json says of the campaign itself.
    ran: how far it is. going_on: asked before each round of minimising."""

    def __init__(
        self,
        names: Sequence[str],
        settings: Settings,
        journal: Journal,
        about: Mapping[str, Any],
        ran: Ran,
        announce: Announce,
        going_on: Callable[[], bool],
    ) -> None:
        self.names = tuple(names)
        self.settings = settings
        self.about = about
        self.ran = ran
        self.announce = announce
        self.going_on = going_on
        self.hunts = {one: Hunt(one, journal, lambda: False, going_on) for one in settings.vendors}
        self.best: dict[str, tuple[Vendor, Found]] = {}
        self.written: dict[str, object] = {}
        self.first: dict[str, First] = {}
        self.gone: list[Mapping[str, Any]] = []
        self.troubles = 0
        self.unsteady = 0

    def found(self) -> frozenset[str]:
        """The signatures so far."""
        return frozenset(self.best)

    def restore(self, told: Mapping[str, Any]) -> None:
        """Take in what an earlier session has left. What its schedules no longer show is `gone`.

        told: its campaign.json. If kernels have changed since, schedules are run again, and what
        they show is written anew.
        """
        before = [*told.get("signatures", ()), *told.get("gone", ())]
        for vendor in self.hunts:
            mine = [one for one in before if one["vendor"] == vendor]
            ways = [load(json.dumps(way)) for one in mine for way in one["ways"]]
            if ways:
                self.take(vendor, [way._replace(name="", about="") for way in ways])
        self.troubles, self.unsteady = told.get("troubles", 0), told.get("unsteady", 0)
        self.first = {one["signature"]: First(**one["first"]) for one in before}
        self.look()
        if told.get("compared") == self.about.get("compared"):
            self.changed()
        there = {one["signature"]: one for one in before if one["signature"] not in self.best}
        self.gone = [{"gone": now(), **one} for one in there.values()]

    def collect(self, work: Path) -> bool:
        """Take in some of what processes have written to `work`, and report it. Was there anything?

        What is new comes first. What could not be explained in time is kept for the next session.
        """
        if not self.going_on():
            return False
        told = [(path, json.loads(path.read_text())) for path in sorted(work.glob("*.json"))]
        known = {str(found.mark) for _, found in self.best.values()}
        some = sorted(told, key=lambda one: one[1].get("signature", "") in known)[:TOGETHER]
        for vendor, hunt in self.hunts.items():
            mine = [
                (path, one, schedule)
                for path, one in some
                if (schedule := live_schedule(bytes.fromhex(one["input"]))).vendor == vendor
            ]
            self.take(vendor, [one for _, told, one in mine if "trouble" not in told])
            self.report()
            if hunt.unexplained:
                continue
            for path, one, schedule in mine:
                if "trouble" in one:
                    self.note_trouble(one["trouble"], schedule)
                path.unlink()
        return bool(some)

    def settle(self) -> bool:
        """Nothing waits: what is told is minimised."""
        return False

    def waiting(self) -> int:
        return 0

    def take(self, vendor: Vendor, schedules: Sequence[Schedule]) -> None:
        """Run schedules, and find out what they show."""
        hunt = self.hunts[vendor]
        for schedule, traces in zip(schedules, hunt.all_run(schedules, 0), strict=True):
            self.unsteady += not hunt.take_in(schedule, traces)
        hunt.explain()
        hunt.finish()

    def note_trouble(self, says: str, schedule: Schedule) -> None:
        """Keep a schedule that no kernel got through. Raises OSError."""
        self.troubles += 1
        told = {"time": now(), "says": says, "schedule": schedule_json(schedule)}
        append_line(self.settings.out / TROUBLES, json.dumps(told))

    def look(self) -> None:
        """See what there is now."""
        self.best = {
            signature_of(vendor, found): (vendor, found)
            for vendor, hunt in self.hunts.items()
            for found in hunt.found
            if not found.gone
        }

    def changed(self) -> list[str]:
        """The signatures that are new, or are told otherwise than when this was asked before."""
        changed = []
        for signature, (_, found) in self.best.items():
            state = tuple((way.schedule, way.repeats, way.minimal) for way in found.told)
            if self.written.get(signature) != state:
                self.written[signature] = state
                changed.append(signature)
        return changed

    def report(self) -> None:
        """Write what is new, then the summary, and announce it. Raises OSError."""
        self.look()
        changed = self.changed()
        new = [signature for signature in changed if signature not in self.first]
        for signature in changed:
            write_found(self.settings.out, self.names, *self.best[signature])
        schedules, seconds = self.ran()
        name = self.settings.out.resolve().name
        self.first |= {one: First(now(), round(seconds, 3), schedules, name) for one in new}
        self.gone = [one for one in self.gone if one["signature"] not in self.best]
        if changed:
            self.write_summary()
        for signature in new:
            self.announce(signature, self.best[signature][1])

    def write_summary(self) -> None:
        """Raises OSError."""
        write_summary(self.settings.out, self.outcome())

    def outcome(self) -> Outcome:
        """What has been found."""
        return Outcome(
            self.names,
            self.about,
            *self.ran(),
            self.best,
            self.first,
            self.gone,
            self.troubles,
            self.unsteady,
            sum(1 for _ in (self.settings.out / WORK).glob("*.json")),
        )

    def sweep(self) -> None:
        """Keep what the inputs take within bounds. Raises OSError."""
        for vendor in self.hunts:
            bound(self.settings.out / CORPUS / vendor, None, self.settings.max_corpus)

    def end(self) -> None:
        """Nothing is left to do."""
