"""The journal of a review: every live run that was made, and what it showed.

A review asks the journal for runs, which makes those that it does not have. As a review's choices
follow from what it was shown, the same command goes on where it was cut off: what was run before is
there at once.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fuzz.compare.traces import Trace, Traces, observation_json, observation_of
from fuzz.schedule import codes
from fuzz.schedule.schedule import Schedule
from variants.machine.observation import Observation

FORMAT: Final = 1
NAME: Final = "journal.jsonl"

Run = Callable[[Sequence[Schedule], bool], Sequence[Traces]]
"""Runs schedules of one vendor, in fresh VMs or in kept ones."""


class OtherBuilds(Exception):
    """The journal is of other builds than these."""


class Journal:
    """Runs of schedules on certain builds, kept in a file as they are made."""

    def __init__(self, folder: Path, builds: Mapping[str, str], run: Run) -> None:
        """builds: by variant name, what tells one build from another. Raises OSError, and
        OtherBuilds if the journal that is there is of others."""
        self.path = folder / NAME
        self.run_live = run
        self.shown: list[Observation] = []
        self.numbers: dict[Observation, int] = {}
        self.known: dict[tuple[str, int], Traces] = {}
        head = {"format": FORMAT, "builds": dict(builds)}
        whole = self.read(head) if self.path.exists() else 0
        self.file = self.path.open("r+b" if whole else "wb")
        self.file.truncate(whole)
        self.file.seek(whole)
        if not whole:
            self.write([head])

    def read(self, head: Mapping[str, Any]) -> int:
        """Take in what is there; returns how much of the file is whole."""
        whole = 0
        for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True)):
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            if not number and entry != head:
                raise OtherBuilds(
                    f"{self.path} is of other builds: give another --out, or remove it"
                )
            if number:
                self.take_in(entry)
            whole += len(line)
        return whole

    def take_in(self, entry: Any) -> None:
        if isinstance(entry, dict):
            self.number(observation_of(entry))
            return
        code, turn, traces = entry
        self.known[code, turn] = {
            name: tuple(self.shown[number] for number in trace) for name, trace in traces.items()
        }

    def number(self, shown: Observation) -> int:
        """The number of an observation; most show up often."""
        if shown not in self.numbers:
            self.numbers[shown] = len(self.shown)
            self.shown.append(shown)
        return self.numbers[shown]

    def write(self, entries: Sequence[Any]) -> None:
        self.file.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
        self.file.flush()

    def run(self, schedules: Sequence[Schedule], turn: int = 0) -> list[Traces]:
        """What schedules of one vendor show, in order; {} for those that could not be run now.

        turn: 0 in kept VMs; others, each a run of its own, in fresh ones.
        """
        coded = [code_of(one) for one in schedules]
        there = dict(zip(coded, schedules, strict=True))
        missing = {code: one for code, one in there.items() if (code, turn) not in self.known}
        if missing:
            ran = self.run_live(list(missing.values()), turn > 0)
            for code, traces in zip(missing, ran, strict=True):
                if traces:
                    self.keep(code, turn, traces)
        return [self.known.get((code, turn), {}) for code in coded]

    def shown_by(self, schedule: Schedule) -> Traces:
        """What a schedule showed in a kept VM; {} if it has not been run."""
        return self.known.get((code_of(schedule), 0), {})

    def keep(self, code: str, turn: int, traces: Traces) -> None:
        before = len(self.shown)
        numbered = {name: self.numbered(trace) for name, trace in traces.items()}
        fresh = [observation_json(0, one) for one in self.shown[before:]]
        self.write([*fresh, [code, turn, numbered]])
        self.known[code, turn] = {
            name: tuple(self.shown[number] for number in trace) for name, trace in numbered.items()
        }

    def numbered(self, trace: Trace) -> list[int]:
        return [self.number(shown) for shown in trace]


def code_of(schedule: Schedule) -> str:
    """What a schedule is known by."""
    return codes.encode(schedule._replace(name="", about="")).hex()
