"""How many schedules reach each basic block of real kernels: counted by the processes of a live
campaign, brought back by rounds, added up over sessions.

A file of counts says of which builds they are: those of other builds say nothing of today's.
"""

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from fuzz.schedule.file import write_whole
from variants.live.layout import Place
from variants.machine.step import Vendor

EVERY: Final = 5.0
"""Seconds after which a process writes its counts again."""

Counts = Mapping[str, Any]
"""As in the files. By vendor how many `schedules` ran on all kernels, and by kernel of which
`build` and how many schedules reached each of its `blocks`."""


class Tally:
    """Counts of one process, in the file `path`. builds: by variant, what tells its kernel's build
    from others."""

    def __init__(self, path: Path, vendor: Vendor, builds: Mapping[str, str]) -> None:
        self.path = path
        self.vendor = vendor
        self.builds = builds
        self.schedules = 0
        self._reached: dict[str, Counter[Place]] = {name: Counter() for name in builds}
        self._written = time.monotonic()

    def take(self, reached: Mapping[str, Collection[Place]]) -> None:
        """A schedule has `reached` these blocks, by variant. Raises OSError."""
        self.schedules += 1
        for name, places in reached.items():
            self._reached[name].update(places)
        if time.monotonic() > self._written + EVERY:
            self.note()

    def note(self) -> None:
        """Raises OSError."""
        self._written = time.monotonic()
        kernels = {
            name: {
                "build": build,
                "blocks": {str(place): times for place, times in self._reached[name].items()},
            }
            for name, build in self.builds.items()
        }
        counts = {self.vendor: {"schedules": self.schedules, "kernels": kernels}}
        write_whole(self.path, json.dumps(counts))


def reached_in(work: Path, session: int) -> list[Counts]:
    """What the processes of a session have counted. Raises OSError."""
    return [json.loads(path.read_text()) for path in work.glob(f"{session}-*.reached")]


def added(many: Iterable[Counts]) -> dict[str, Any]:
    """Counts of the same builds together."""
    total: dict[str, Any] = {}
    for counts in many:
        for vendor, one in counts.items():
            mine = total.setdefault(vendor, {"schedules": 0, "kernels": {}})
            mine["schedules"] += one["schedules"]
            for name, kernel in one["kernels"].items():
                new = {"build": kernel["build"], "blocks": {}}
                blocks = mine["kernels"].setdefault(name, new)["blocks"]
                for place, times in kernel["blocks"].items():
                    blocks[place] = blocks.get(place, 0) + times
    return total


def of_builds(counts: Counts, builds: Mapping[str, str]) -> Counts:
    """What of `counts` is of these builds, which is all of a vendor's or nothing."""
    return {
        vendor: one
        for vendor, one in counts.items()
        if {name: kernel["build"] for name, kernel in one["kernels"].items()} == builds
    }
