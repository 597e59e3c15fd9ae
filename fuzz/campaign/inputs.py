"""Inputs that a campaign begins with besides the project's seeds: schedules and other corpora."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fuzz.campaign.folder import CORPUS, holds_campaign
from fuzz.campaign.palette import unmixed
from fuzz.page.read import FolderError
from fuzz.report.mail import FILE
from fuzz.schedule.codes import fuzz_input, schedule_of_input
from fuzz.schedule.file import is_yaml, read_data, schedule_in, write_whole
from fuzz.schedule.schedule import Schedule, ScheduleError


class Given(NamedTuple):
    """schedules: those of a folder. wrong: what is wrong with its other files, a line each."""

    schedules: list[Schedule]
    wrong: list[str]


def given_in(place: Path) -> Given:
    """What is in `place`: a folder of schedules, a libFuzzer corpus, another campaign, or one file.
    Raises FolderError if there is nothing to begin with, and OSError."""
    place.stat()  # Is it there?
    found = Given([], [])
    for path in files_of(place):
        try:
            found.schedules.append(schedule_of(path))
        except ScheduleError as error:
            found.wrong.append(str(error))
    if not found.schedules:
        why = f", {found.wrong[0]}" if found.wrong else ""
        raise FolderError(f"{place}: no schedule to begin with{why}")
    return found


def files_of(place: Path) -> Iterator[Path]:
    """Its files; of a campaign's, reproducers and inputs."""
    if place.is_file():
        yield place
    elif holds_campaign(place):
        yield from sorted(place.glob(f"*/{FILE}"))
        yield from sorted((place / CORPUS).glob("*/*"))
    else:
        files = (path for path in sorted(place.rglob("*")) if path.is_file())
        yield from (path for path in files if not path.name.startswith("."))


def schedule_of(path: Path) -> Schedule:
    """The schedule in a file: YAML, bytes, or else a fuzzer's input, without the codes that are no
    step. Raises ScheduleError."""
    data = read_data(str(path))
    try:
        return schedule_in(data, str(path))
    except ScheduleError:
        if is_yaml(data, str(path)):
            raise
    schedule = schedule_of_input(data)
    if not schedule.steps:
        raise ScheduleError(f"{path}: no step in it")
    return schedule


def add_inputs(corpora: Path, schedules: Iterable[Schedule], mix: bool) -> None:
    """Add schedules to the corpora of their vendors, where there is one; without `mix`, what of
    them stays within what is explored. Raises OSError."""
    for schedule in schedules:
        data = fuzz_input(schedule)
        corpus = corpora / schedule.vendor
        if corpus.exists():
            data = data if mix else unmixed(data)
            write_whole(corpus / hashlib.sha1(data).hexdigest(), data)
