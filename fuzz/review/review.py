"""A review: the covering set on real KVM, then a search from what was new in it, vendor by vendor.

It is ordered so that each second buys most: walks before tours, and of both vendors first.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fuzz.compare.traces import Traces
from fuzz.live.cover import Covering, covering
from fuzz.live.run import Telling, run_once
from fuzz.review.findings import Found
from fuzz.review.hunt import Hunt
from fuzz.review.journal import Journal
from fuzz.review.reached import Reached
from fuzz.schedule.schedule import Schedule
from variants.live.guests import guests
from variants.live.runner import Build
from variants.machine.step import Vendor

GRACE: Final = 120
"""Seconds for what was found before the time was up to be minimised."""
MOST_BROKEN: Final = 1


@dataclass
class Clock:
    """How long a review may propose schedules, once the covering sets are made; None is for as long
    as there is something new."""

    seconds: int | None
    began: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        self.began = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def proposing(self) -> bool:
        return self.seconds is None or self.elapsed < self.seconds

    def explaining(self) -> bool:
        return self.seconds is None or self.elapsed < self.seconds + GRACE


@dataclass
class Reviewed:
    """What became of one vendor. covering: its set; covered: how many schedules of it were run."""

    hunt: Hunt
    covering: Covering
    covered: int = 0


@dataclass
class Review:
    """names: the variants, the base first. reviewed: by vendor, as far as it went. same_code: they
    are built the same, so that nothing was run. reached: of a patch, once that is known."""

    names: tuple[str, ...]
    reviewed: dict[Vendor, Reviewed] = field(default_factory=dict)
    interrupted: bool = False
    seconds: float = 0
    same_code: bool = False
    reached: Reached | None = None

    @property
    def found(self) -> list[tuple[Vendor, Found]]:
        """All but what fresh VMs did not show, that which explains most first."""
        return [
            (vendor, found)
            for vendor, one in self.reviewed.items()
            for found in sorted(one.hunt.found, key=lambda found: -found.explains)
            if not found.gone
        ]


def review(
    builds: Mapping[str, Build],
    identities: Mapping[str, str],
    vendors: Sequence[Vendor],
    cache: Path,
    out: Path,
    clock: Clock,
    telling: Telling,
    saying: Callable[[str], None],
) -> Review:
    """Search for what `builds` do differently, the first being the base.

    identities: what tells one build from another. cache: where covering sets are kept. out: where
    the journal is; what is in it is not run again. saying: told now and then how far it is. Ctrl-C
    ends it early, with what it has. Raises LiveError, OSError, OtherBuilds.
    """
    result = Review(tuple(builds))
    status = ""

    def ticking(what: str) -> AbstractContextManager[Callable[[], None]]:
        return telling.ticking(f"{status}; {what}")

    told = telling._replace(ticking=ticking)

    def run(schedules: Sequence[Schedule], fresh: bool) -> Sequence[Traces]:
        return run_once(schedules, builds, told, len(builds), fresh, MOST_BROKEN, up)

    journal = Journal(out, identities, run)
    with guests() as up:
        try:
            for vendor in vendors:
                with telling.ticking(f"{vendor}: the covering set") as tick:
                    whole = covering(vendor, cache, tick)
                hunt = Hunt(vendor, journal, clock.proposing, clock.explaining)
                result.reviewed[vendor] = Reviewed(hunt, whole)
            clock.begin()
            status = progress(result, clock)
            for _ in steps(result):
                status = progress(result, clock)
                saying(status)
            for vendor, one in result.reviewed.items():
                status = f"{vendor}: minimising {len(one.hunt.found)} differences"
                saying(status)
                one.hunt.finish()
        except KeyboardInterrupt:
            result.interrupted = True
    result.seconds = clock.elapsed
    return result


def steps(result: Review) -> Iterator[None]:
    """The search, the vendors in turns; yields after each chunk of schedules."""
    for part in ("walks", "tours"):
        yield from in_turns([covered(one, part) for one in result.reviewed.values()])
    yield from in_turns([one.hunt.search() for one in result.reviewed.values()])


def covered(one: Reviewed, part: str) -> Iterator[int]:
    """Run a part of a vendor's covering set."""
    before = one.covered
    for done in one.hunt.cover(getattr(one.covering, part)):
        one.covered = before + done
        yield done


def in_turns(some: Sequence[Iterator[object]]) -> Iterator[None]:
    """A step of each in turn, until all are at their end."""
    left = list(some)
    while left:
        left = [one for one in left if next(one, None) is not None]
        yield


def progress(result: Review, clock: Clock) -> str:
    """How far it is, and how long the covering set still takes, at the pace so far."""
    done = sum(one.covered for one in result.reviewed.values())
    whole = sum(len(one.covering.schedules) for one in result.reviewed.values())
    found = sum(len(one.hunt.found) for one in result.reviewed.values())
    left = clock.elapsed * (whole - done) / done if done else 0
    if clock.seconds is not None:
        left = min(left, max(0, clock.seconds - clock.elapsed))
    return f"{done}/{whole} schedules, {found} differences, about {left:.0f} s left"
