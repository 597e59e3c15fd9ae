"""What a campaign's schedules break of the manuals, beside what they tell apart.

Judged are the findings' reproducers and, at the end, the inputs that libFuzzer kept: whatever was
new to it. The fuzzer processes judge nothing, so that they are as fast as without.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from fuzz.compare.compared import Compared
from fuzz.compare.traces import trace_of
from fuzz.explore.breaches import Breach
from fuzz.judge.monitor import JudgeStep, Ruling, judge, judge_step
from fuzz.schedule.codes import schedule_of_input
from fuzz.schedule.order import size
from fuzz.schedule.schedule import Schedule
from variants.machine.machine import Machine
from variants.machine.step import Vendor

REMEMBERED: Final = 1 << 18
"""Answers that are remembered, at most."""


class Breaking:
    """Judges schedules. found: the classes of breaches, each with the smallest schedule so far."""

    def __init__(self, subjects: dict[Vendor, Compared]) -> None:
        self.subjects = subjects
        self.found: dict[Breach, Schedule] = {}
        # Fuzzers do the same again and again.
        self._judge_step: JudgeStep = lru_cache(REMEMBERED)(judge_step)

    def take(self, schedule: Schedule) -> None:
        """Note what `schedule` breaks; a smaller schedule that breaks the same is kept instead."""
        subject = self.subjects[schedule.vendor]
        for name, machine in zip(subject.names, subject.machines, strict=True):
            if not (first := self._first(machine, schedule)):
                continue
            step, ruling = first
            breach = Breach(schedule.vendor, name, ruling.rule, ruling.where)
            known = self.found.get(breach)
            if known is None or step + 1 < len(known.steps):
                beginning = schedule._replace(steps=schedule.steps[: step + 1])
                smallest = self._shrunk(machine, beginning)
                if known is None or size(smallest) < size(known):
                    self.found[breach] = smallest

    def take_corpus(self, folders: Iterable[Path]) -> None:
        """Judge the inputs in libFuzzer's corpora."""
        for folder in folders:
            for path in sorted(folder.iterdir()):
                self.take(schedule_of_input(path.read_bytes()))

    def _first(self, machine: Machine, schedule: Schedule) -> tuple[int, Ruling] | None:
        """The first ruling: what comes after may follow from it, also from an open one."""
        trace = trace_of(machine, schedule)
        first = next(judge(schedule, trace, self._judge_step), None)
        return None if first is None or first[1].open else first

    def _shrunk(self, machine: Machine, schedule: Schedule) -> Schedule:
        """Without the steps that its last step does not need to break the same rule."""
        wanted = self._first(machine, schedule)
        assert wanted
        for number in reversed(range(len(schedule.steps) - 1)):
            steps = schedule.steps[:number] + schedule.steps[number + 1 :]
            fewer = schedule._replace(steps=steps)
            if self._first(machine, fewer) == (len(steps) - 1, wanted[1]):
                schedule = fewer
        return schedule
