"""Where a campaign stands: from its folder, whoever runs it, and when it has ended."""

import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from fuzz.campaign.folder import CORPUS, STATUS, WORK, Before, before, holds_campaign, is_running
from fuzz.page.read import CAMPAIGN, FolderError
from fuzz.schedule.file import write_whole

EVERY: Final = 1.0
"""Seconds between two pulses."""
LATELY: Final = 10.0
"""Seconds, or the time since the last pulse, in which schedules are counted that are run now."""
LATEST: Final = 3
"""New signatures that are named."""


class State(StrEnum):
    """What a campaign does. `FINISHING`: nobody fuzzes any more, and what was found is minimised
    and held against shortest schedules."""

    STARTING = "starting"
    FUZZING = "fuzzing"
    FINISHING = "finishing"
    STOPPED = "stopped"


class Pulse(NamedTuple):
    """What a running campaign notes of itself. rate: schedules a second lately; overall: while this
    session fuzzed. quiet: seconds without anything new. found, wanted: of a certificate's
    signatures, if there is one to go by; beyond: found, and none of these. rough: signatures of
    which shorter schedules are still to be looked for.

    left: seconds until it ends; until_quiet: what `quiet` ends it at; until_complete: it ends when
    all that is wanted is found. None, False if they do not count.
    """

    state: State = State.STARTING
    seconds: float = 0.0
    rate: float = 0.0
    overall: float = 0.0
    workers: int = 0
    quiet: float = 0.0
    corpus: int = 0
    coverage: int = 0
    found: int | None = None
    wanted: int | None = None
    beyond: int = 0
    rough: int = 0
    left: float | None = None
    until_quiet: int | None = None
    until_complete: bool = False


class Seen(NamedTuple):
    """A signature, and for how many seconds the campaign had run when it was first seen."""

    signature: str
    seconds: float


class Status(NamedTuple):
    """kinds: how many signatures there are of each. latest: the new ones, the last first. pulse:
    what the campaign noted last; of one that does not run, `STOPPED`, without workers and ends."""

    campaign: str
    running: bool
    seconds: float
    schedules: int
    kinds: Mapping[str, int]
    latest: Sequence[Seen]
    pulse: Pulse


class Noting:
    """Notes a `Pulse` every second or so.

    end: the second of the campaign in which it ends. expected: signatures that there are. fuzzed:
    for how many seconds this session has, once it does no more.
    """

    def __init__(
        self,
        out: Path,
        end: float | None,
        until_quiet: int | None,
        expected: frozenset[str] | None,
        until_complete: bool,
    ) -> None:
        self.out = out
        self.end = end
        self.until_quiet = until_quiet
        self.expected = expected
        self.until_complete = until_complete
        self.recent: deque[tuple[float, int]] = deque()
        self.began: tuple[float, int] | None = None
        self.fuzzed: float | None = None
        self.due = 0.0

    def finish(self, seconds: float) -> None:
        """Nobody fuzzes any more, since this second of the campaign."""
        if self.began and self.fuzzed is None:
            self.fuzzed = seconds - self.began[0]
        self.due = 0.0

    def note(
        self,
        ran: tuple[int, float],
        quiet: float,
        workers: int,
        coverage: int,
        found: frozenset[str],
        rough: int,
    ) -> bool:
        """Note one, if one is due; was it? ran: schedules and seconds. Raises OSError."""
        schedules, seconds = ran
        if seconds < self.due:
            return False
        self.due = seconds + EVERY
        self.recent.append((seconds, schedules))
        while len(self.recent) > 2 and seconds - self.recent[0][0] > LATELY:
            self.recent.popleft()
        past, then = self.recent[0]
        self.began = since, before = self.began or (seconds, schedules)
        fuzzed = seconds - since if self.fuzzed is None else self.fuzzed
        expected = self.expected
        pulse = Pulse(
            State.FUZZING if self.fuzzed is None else State.FINISHING,
            seconds,
            (schedules - then) / max(seconds - past, EVERY),
            (schedules - before) / max(fuzzed, EVERY),
            workers,
            quiet,
            sum(len(list(one.iterdir())) for one in (self.out / CORPUS).iterdir()),
            coverage,
            None if expected is None else len(expected & found),
            None if expected is None else len(expected),
            0 if expected is None else len(found - expected),
            rough,
            None if self.end is None else max(0.0, self.end - seconds),
            self.until_quiet,
            self.until_complete,
        )
        write_whole(self.out / WORK / STATUS, json.dumps(pulse._asdict()))
        return True


def read_status(folder: Path) -> Status:
    """How the campaign in `folder` stands. Raises FolderError, and OSError."""
    if not holds_campaign(folder):
        if is_running(folder):
            raise FolderError(f"{folder}: a campaign is just starting there")
        raise FolderError(f"{folder}: no {CAMPAIGN}: no campaign has run here")
    path = folder / WORK / STATUS
    try:
        pulse = Pulse(**json.loads(path.read_text())) if path.exists() else Pulse()
        return status_of(folder.resolve().name, before(folder), pulse, is_running(folder))
    except (KeyError, TypeError, ValueError):
        raise FolderError(f"{folder}: not what a campaign writes") from None


def status_of(campaign: str, ran: Before, pulse: Pulse, running: bool) -> Status:
    """`Status` of what a folder holds."""
    told = ran.told["signatures"]
    firsts = [Seen(one["signature"], one["first"]["seconds"]) for one in told if "first" in one]
    if not running:
        pulse = pulse._replace(
            state=State.STOPPED, rate=0.0, workers=0, left=None, until_quiet=None
        )
    return Status(
        campaign,
        running,
        max(ran.seconds, pulse.seconds),
        ran.schedules,
        dict(sorted(Counter(one["kind"] for one in told).items())),
        sorted(firsts, key=lambda one: one.seconds, reverse=True)[:LATEST],
        pulse,
    )
