"""Around what the campaign has found: a difference hides what would come after it, so inputs are
mostly run without what makes it show."""

import json
from pathlib import Path
from random import Random
from typing import Final

from fuzz.compare.compared import compared
from fuzz.compare.traces import trace_of
from fuzz.live.cover import BASE
from fuzz.live_campaign.kernels import live_schedule
from fuzz.memory.tables import Tables
from fuzz.review.triggers import Trigger, around, trigger_of
from fuzz.schedule.codes import fuzz_input
from fuzz.schedule.text import load
from variants.catalogue import built_in
from variants.machine.step import Vendor

AROUND: Final = 0.9
"""How often an input goes around what is known: there may be other ways to it, and shorter ones."""


class Known:
    """What is known in the campaign of which `path` is the campaign.json.

    Where a vCPU stands the model of `original` says, whatever is run: that is a guess, as in a
    review.
    """

    def __init__(self, path: Path, vendor: Vendor) -> None:
        self.path = path
        self.vendor = vendor
        self.triggers: list[Trigger] = []
        self._machine = Tables(compared(vendor, [built_in()[BASE]])).compared.machines[0]
        self._read = 0.0

    def look(self) -> None:
        """Take in what was found since. Raises OSError."""
        try:
            changed = self.path.stat().st_mtime
        except FileNotFoundError:
            return
        if changed == self._read:
            return
        self._read = changed
        told = json.loads(self.path.read_text())
        mine = [one for one in told["signatures"] if one["vendor"] == self.vendor]
        ways = [load(json.dumps(way)) for one in mine for way in one["ways"]]
        self.triggers = [
            trigger_of(way, trace_of(self._machine, way), len(way.steps) - 1) for way in ways
        ]

    def around(self, data: bytes, random: Random) -> bytes:
        """`data`, mostly without what would show a difference that is known."""
        if not self.triggers or random.random() >= AROUND:
            return data
        schedule = live_schedule(data)
        if schedule.vendor != self.vendor or not schedule.steps:
            return data
        trace = trace_of(self._machine, schedule)
        other = around(schedule, trace, self.triggers, random)
        return data if other == schedule else fuzz_input(other)
