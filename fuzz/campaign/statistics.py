"""How a campaign grows: `statistics.jsonl`, a line whenever a signature is new and now and then."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz.campaign.collector import now
from fuzz.page.read import STATISTICS
from fuzz.schedule.file import append_line, whole_lines
from variants.machine.step import Vendor

SHARE: Final = 0.02
"""What share of the time so far goes by before there is another line, if nothing is new."""
LEAST: Final = 1.0
MOST: Final = 600.0
"""Seconds that go by at least, and at most."""
TAIL: Final = 4096
"""Bytes at the end of a log in which libFuzzer has told its coverage."""


class Grown(NamedTuple):
    """How far a campaign is. coverage: the most counters ever hit."""

    seconds: float
    schedules: int
    signatures: int
    coverage: int


class Statistics:
    """Writes the lines, after those that are there.

    new_at: the second in which a signature or a counter was new, or this session began.
    """

    def __init__(self, out: Path, seconds: float) -> None:
        """seconds: for how long the campaign has run. Raises OSError."""
        self.path = out / STATISTICS
        self.last = Grown(0.0, 0, -1, 0)
        if self.path.exists():
            for line in whole_lines(self.path)[-1:]:
                told: dict[str, Any] = json.loads(line)
                self.last = Grown(*(told[name] for name in Grown._fields))
        self.new_at = seconds
        self.due = 0.0

    def note(
        self, seconds: float, schedules: int, signatures: int, coverage: int, corpora: Path
    ) -> None:
        """Write a line, if one is due. corpora: where libFuzzer's are. Raises OSError."""
        most = max(coverage, self.last.coverage)
        grown = Grown(round(seconds, 3), schedules, signatures, most)
        if signatures > self.last.signatures or most > self.last.coverage:
            self.new_at = seconds
        fresh = signatures != self.last.signatures
        self.last = self.last._replace(coverage=most)
        if not fresh and seconds < self.due:
            return
        self.last = grown
        self.due = seconds + min(max(LEAST, seconds * SHARE), MOST)
        kept = sum(1 for one in corpora.iterdir() for _ in os.scandir(one))
        append_line(self.path, json.dumps({"time": now(), **grown._asdict(), "corpus": kept}))


def coverage_told(logs: Mapping[Path, Vendor]) -> int:
    """The counters hit, as libFuzzer has told last: the processes of a vendor have the same."""
    most: dict[Vendor, int] = {}
    for path, vendor in logs.items():
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL))
            told = re.findall(rb"\bcov: (\d+)", log.read())
        if told:
            most[vendor] = max(most.get(vendor, 0), int(told[-1]))
    return sum(most.values())
