"""A crew on this machine: fuzzer processes that share a corpus folder by libFuzzer's `-reload`."""

import os
import time
from collections.abc import Sequence
from math import inf

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
)
from fuzz.campaign.statistics import coverage_told


class Local:
    """Processes that were started. deadline: when they have to end, as `time.time` has it. own: the
    user's variants, to be named where nothing says which it was. patience: as in `stop`."""

    def __init__(
        self, fuzzers: Sequence[Fuzzer], deadline: float, own: str, patience: float = 0
    ) -> None:
        self.fuzzers = fuzzers
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
        return coverage_told({one.log: one.vendor for one in self.fuzzers})

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
    fuzzers: list[Fuzzer] = []
    try:
        for number in range(workers or max(len(vendors), os.cpu_count() or 1)):
            vendor = vendors[number % len(vendors)]
            name = f"{session}-{vendor}-{number}"
            seed = seed_of(settings.seed, number)
            task = Task(vendor, name, options, seconds or 0, seed, module)
            fuzzers.append(start(task, settings.out))
    except BaseException:
        stop(fuzzers)
        raise
    deadline = inf if seconds is None else time.time() + seconds + GRACE
    own = ", ".join(own_files(settings.options))
    return Local(fuzzers, deadline, own, patience)
