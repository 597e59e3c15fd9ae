"""A crew on this machine: fuzzer processes that share a corpus folder by libFuzzer's `-reload`."""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from pathlib import Path

from fuzz.campaign.campaign import Settings
from fuzz.campaign.elsewhere import own_files
from fuzz.campaign.processes import (
    GRACE,
    MODELS,
    Fuzzer,
    Task,
    counted,
    gone_wrong,
    seed_of,
    start,
    stop,
    turn,
)
from fuzz.campaign.statistics import coverage_told
from variants.machine.step import Vendor

Begin = Callable[[Vendor], Fuzzer]
"""Starts one more process."""


class Local:
    """Processes that were started. deadline: when they have to end, as `time.time` has it. own: the
    user's variants, to be named where nothing says which it was. patience: as in `stop`. begin: for
    a process in another's place."""

    def __init__(
        self,
        fuzzers: Sequence[Fuzzer],
        deadline: float,
        own: str,
        patience: float = 0,
        begin: Begin | None = None,
    ) -> None:
        self.fuzzers = list(fuzzers)
        self.begin = begin
        self.over = set[Vendor]()
        self.logs = dict[Path, Vendor]()
        self.deadline = deadline
        self.own = own
        self.patience = patience

    def works(self) -> bool:
        return any(map(self._unsettled, self.fuzzers))

    def _unsettled(self, fuzzer: Fuzzer) -> bool:
        """Does it run, and may hang? One with many inputs to begin with looks at its time late."""
        return fuzzer.process.poll() is None and counted(fuzzer) <= self.deadline

    def wrong(self) -> str:
        at = time.time()
        late = [at > max(self.deadline, counted(one) + GRACE) for one in self.fuzzers]
        said = [gone_wrong(*one, self.own) for one in zip(self.fuzzers, late, strict=True)]
        return next(filter(None, said), "")

    def alive(self) -> int:
        return sum(fuzzer.process.poll() is None for fuzzer in self.fuzzers)

    def coverage(self) -> int:
        self.logs |= {one.log: one.vendor for one in self.fuzzers}
        return coverage_told(self.logs)

    def enough(self, vendor: Vendor) -> None:
        """Each process of `vendor` is ended, and one of another begun in its place."""
        self.over.add(vendor)
        mine = [one for one in self.fuzzers if one.vendor == vendor and one.process.poll() is None]
        others = sorted({one.vendor for one in self.fuzzers} - self.over)
        if not mine or not others or self.begin is None:
            return
        stop(mine, self.patience)
        self.fuzzers = [one for one in self.fuzzers if one not in mine]
        for number, _ in enumerate(mine):
            self.fuzzers.append(self.begin(others[number % len(others)]))

    def stop(self) -> None:
        stop(self.fuzzers, self.patience)


def hire(
    settings: Settings,
    session: int,
    workers: int | None = None,
    module: str = MODELS,
    patience: float = 0,
) -> Local:
    """Start `workers` processes, the vendors in turn; unless told one a core and at least one a
    vendor. module: what they run. patience: as in `stop`. Raises OSError."""
    vendors, seconds = settings.vendors, settings.ends.seconds
    options = (*settings.options, *(["--mix"] if settings.mix else []))
    numbers, turns = count(), Counter[Vendor]()
    end = inf if seconds is None else time.time() + seconds

    def begin(vendor: Vendor) -> Fuzzer:
        number = next(numbers)
        left = 0 if seconds is None else max(1, round(end - time.time()))
        name, seed = f"{session}-{vendor}-{number}", seed_of(settings.seed, number)
        words = (*options, *turn(module, turns[vendor]))
        turns[vendor] += 1
        return start(Task(vendor, name, words, left, seed, module), settings.out)

    fuzzers: list[Fuzzer] = []
    try:
        for number in range(workers or max(len(vendors), os.cpu_count() or 1)):
            fuzzers.append(begin(vendors[number % len(vendors)]))
    except BaseException:
        stop(fuzzers)
        raise
    own = ", ".join(own_files(settings.options))
    return Local(fuzzers, end + GRACE + patience, own, patience, begin)
