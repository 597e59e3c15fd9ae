"""How a campaign grows: `statistics.jsonl`, a line whenever a signature is new and now and then."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from variants.machine.step import Vendor

NAME: Final = "statistics.jsonl"
SHARE: Final = 0.02
"""What share of the time so far goes by before there is another line, if nothing is new."""
LEAST: Final = 1.0
"""Seconds that go by at least."""
TAIL: Final = 4096
"""Bytes at the end of a log in which libFuzzer has told its coverage."""


class Statistics:
    """Writes the lines; begins the file anew. Raises OSError."""

    def __init__(self, out: Path) -> None:
        self.path = out / NAME
        self.path.write_text("")
        self.signatures = -1
        self.due = 0.0

    def note(
        self, schedules: int, seconds: float, signatures: int, logs: Mapping[Path, Vendor]
    ) -> None:
        """Write a line, if one is due. logs: of the fuzzer processes."""
        if signatures == self.signatures and seconds < self.due:
            return
        self.signatures = signatures
        self.due = seconds + max(LEAST, seconds * SHARE)
        line = {
            "seconds": round(seconds, 3),
            "schedules": schedules,
            "signatures": signatures,
            "coverage": coverage(logs),
        }
        with self.path.open("a") as file:
            file.write(f"{json.dumps(line)}\n")


def coverage(logs: Mapping[Path, Vendor]) -> int:
    """The counters hit, as libFuzzer has told last: the processes of a vendor have the same."""
    most: dict[Vendor, int] = {}
    for path, vendor in logs.items():
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL))
            told = re.findall(rb"\bcov: (\d+)", log.read())
        if told:
            most[vendor] = max(most.get(vendor, 0), int(told[-1]))
    return sum(most.values())
