"""How far a fuzzer process is, noted where its campaign looks."""

import time
from pathlib import Path

from fuzz.schedule.file import write_whole


class Progress:
    """Counts runs, and notes about once a second how many in which time.

    folder: where the campaign looks. name: what the names of the process's files begin with.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.count"
        self.runs = 0
        self.started = time.monotonic()
        self._due = 1

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    def count(self) -> None:
        """One more. Raises OSError."""
        self.runs += 1
        if self.runs >= self._due:
            self.note()

    def note(self) -> None:
        """Raises OSError."""
        elapsed = self.elapsed
        write_whole(self.path, f"{self.runs} {elapsed:.3f}")
        self._due = self.runs + max(1, int(self.runs / max(elapsed, 0.01)))
