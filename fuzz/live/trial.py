"""Is a rebuilt kernel what it was? Both run the same schedules."""

from collections.abc import Mapping, Sequence
from typing import Final

from fuzz.compare.compared import compared
from fuzz.live.novelty import walks
from fuzz.live.run import Telling, breaks, live_splits, run_live
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import Schedule, races
from fuzz.schedule.seeds import seed_files
from variants.catalogue import choose
from variants.live.runner import Build
from variants.machine.step import Vendor

WALKS: Final[Mapping[Vendor, int]] = {"svm": 150, "vmx": 40}
SEED: Final = 1


def trial_schedules() -> list[Schedule]:
    """The seeds, and the first of the novelty walks, for both vendors."""
    base = choose("original", [], least=1)
    seeds = [read_schedule(str(file)) for file in seed_files()]
    found = [one for one in seeds if not races(one)]
    for vendor, count in WALKS.items():
        found += walks(compared(vendor, base), count, SEED)
    return found


def parted(
    schedules: Sequence[Schedule], builds: Mapping[str, Build], telling: Telling
) -> list[str]:
    """The names of the schedules in which builds part, or a run broke off.

    Raises LiveError when nothing can be run.
    """
    lives = run_live(schedules, builds, telling)
    return [
        schedule.name
        for schedule, traces in zip(schedules, lives, strict=True)
        if live_splits(traces) or breaks(traces)
    ]
