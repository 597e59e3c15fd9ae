"""A campaign's folder: whole at each moment, so that a campaign goes on wherever it was cut off.

`campaign.json` says how much was run before the session that wrote it; what that session has run
its fuzzer processes count, in files of its own. So whenever a session ends, nothing is counted
twice. A session is what one `eventdiff fuzz` does.
"""

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz.page.page import PAGE
from fuzz.page.read import CAMPAIGN, STATISTICS, FolderError, told_in
from fuzz.schedule.codes import fuzz_input
from fuzz.schedule.file import drop_cut_off, sweep, write_whole
from fuzz.schedule.seeds import seed_files
from fuzz.schedule.text import load
from variants.machine.step import MIN_VCPUS, Vendor

CORPUS: Final = "corpus"
LOG: Final = "log"
WORK: Final = "work"
"""Where fuzzer processes write what the campaign has not taken in yet, and their counts."""
STATUS: Final = "status"
"""In `WORK`, as JSON: how the session stands."""
LOCK: Final = "lock"
NAMED_BY_CONTENT: Final = re.compile("[0-9a-f]{40}")
"""Names of the inputs that libFuzzer keeps: their SHA-1."""
MAX_LOG: Final = 4 << 20
"""Bytes at which a log is begun anew; the one before is kept beside it."""


class Before(NamedTuple):
    """What a campaign has come to in earlier sessions. told: its campaign.json."""

    sessions: int
    schedules: int
    seconds: float
    told: Mapping[str, Any]


NOTHING: Final = Before(0, 0, 0.0, {})


def holds_campaign(folder: Path) -> bool:
    """Is there a campaign in `folder`?"""
    return (folder / CAMPAIGN).exists()


def keep_aside(folder: Path) -> Path:
    """Rename the folder of a campaign; where it is now. Raises FolderError if it runs, and
    OSError."""
    with locked(folder):
        return folder.rename(aside(folder))


def enter(stack: ExitStack, folder: Path, resume: bool) -> Before:
    """Make `folder` ready for a session, and keep others out until `stack` is closed.

    resume: go on with the campaign that it holds, if there is one. Raises FolderError if it cannot
    be used, and OSError.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder}: is no folder: give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    stack.enter_context(locked(folder))
    sweep(folder)
    if not holds_campaign(folder):
        if others := [one.name for one in folder.iterdir() if one.name != LOCK]:
            what = f"no campaign, but other files ({min(others)})"
            raise FolderError(f"{folder}: holds {what}: give another --out")
        return NOTHING
    if not resume:
        ways = "--resume goes on with it, --fresh begins anew and keeps it aside"
        raise FolderError(f"{folder}: holds a campaign: {ways}")
    # How the session before stood.
    (folder / WORK / STATUS).unlink(missing_ok=True)
    drop_damaged(folder / CORPUS)
    if (folder / STATISTICS).exists():
        drop_cut_off(folder / STATISTICS)
    return before(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other campaigns out of `folder`. Raises FolderError if one runs there, and OSError."""
    path = folder / LOCK
    with path.open("ab") as file:
        for pause in (0.05, 0.1, 0.2, 0.0):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Is it one that only looks?
                time.sleep(pause)
        else:
            raise FolderError(f"{folder}: a campaign is running there")
        if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            raise FolderError(f"{folder}: another campaign has just begun there")
        yield


def is_running(folder: Path) -> bool:
    """Does a campaign run in `folder`? Raises OSError."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def aside(folder: Path) -> Path:
    """A free name beside `folder` for the campaign that it holds: with the time of its end."""
    ended = time.gmtime((folder / CAMPAIGN).stat().st_mtime)
    name = f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S', ended)}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(place for place in map(folder.with_name, names) if not place.exists())


def drop_damaged(corpus: Path) -> None:
    """Remove inputs that a process was killed over while it wrote them. Raises OSError."""
    for path in corpus.glob("*/*"):
        named = NAMED_BY_CONTENT.fullmatch(path.name)
        if named and hashlib.sha1(path.read_bytes()).hexdigest() != path.name:
            path.unlink()


def before(folder: Path) -> Before:
    """How far the campaign in `folder` is. Raises FolderError."""
    kind, told = told_in(folder)
    try:
        session = told.get("session", {"number": 0, "schedules": 0, "seconds": 0.0})
        counts = counts_in(folder / WORK, session["number"])
        ran = session["schedules"] + sum(runs for runs, _ in counts)
        lasted = session["seconds"] + max((elapsed for _, elapsed in counts), default=0.0)
        return Before(
            session["number"], max(told["schedules"], ran), max(told["seconds"], lasted), told
        )
    except (KeyError, TypeError, ValueError):
        raise FolderError(f"{folder / CAMPAIGN}: not what a {kind} writes") from None


def counts_in(work: Path, session: int) -> list[tuple[int, float]]:
    """How many schedules each process of a session has run, and in how many seconds."""
    told = [path.read_text().split() for path in work.glob(f"{session}-*.count")]
    return [(int(runs), float(elapsed)) for runs, elapsed in told]


def make_room(folder: Path, vendors: Sequence[Vendor], session: int, seeds: bool = True) -> None:
    """Make the folders below `folder`, with the seeds unless told otherwise, and drop the counts of
    earlier sessions, which campaign.json has, and what else was theirs. Raises OSError."""
    for name in (LOG, WORK):
        (folder / name).mkdir(exist_ok=True)
    (folder / PAGE).unlink(missing_ok=True)
    for vendor in vendors:
        corpus = folder / CORPUS / vendor
        corpus.mkdir(parents=True, exist_ok=True)
        if seeds:
            write_seeds(corpus, vendor)
    for path in (folder / WORK).iterdir():
        of_session = path.name.startswith(f"{session}-")
        if path.suffix in (".count", ".reached") and not of_session:
            path.unlink()


def write_seeds(corpus: Path, vendor: Vendor) -> None:
    """The seed schedules of `vendor` as fuzzer inputs. Raises OSError."""
    for path in seed_files():
        schedule = load(path.read_text(), path.stem)
        if schedule.vendor == vendor and schedule.vcpus == MIN_VCPUS:
            write_whole(corpus / path.stem, fuzz_input(schedule))


def begin_anew(log: Path) -> None:
    """Keep a log beside itself and empty it; its writer appends, and goes on. Raises OSError."""
    if log.exists() and log.stat().st_size:
        shutil.copyfile(log, log.with_suffix(".log.1"))
        os.truncate(log, 0)


def rotate(logs: Path) -> None:
    """Begin those logs anew that have grown long. Raises OSError."""
    for path in logs.glob("*.log"):
        if path.stat().st_size > MAX_LOG:
            begin_anew(path)
