"""Which of a patch's lines a review reaches: what it ran is run again on an instrumented build."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fuzz.compare.traces import observation_of
from fuzz.live.run import Telling, why
from fuzz.review.changed import NOT_REACHED, Line, changed_lines, verdicts
from fuzz.review.hunt import CHUNKS, Hunt
from fuzz.schedule.file import write_whole
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import schedule_json
from variants.live.guests import Guests, guests
from variants.live.hunks import Hunk
from variants.live.inside import read_blocks
from variants.live.lines import read_lines
from variants.live.protocol import COVERAGE
from variants.live.runner import Build, run_variants
from variants.machine.step import Vendor

NAME: Final = "reached.json"
MOST_BROKEN: Final = 1


@dataclass
class Reached:
    """What became of the lines that a patch changes.

    lines: those, blocks: the numbers of the blocks of theirs that were reached. ran: by vendor, how
    many of a review's schedules ran; of: how many it has. unlike: how many of them showed something
    else than on the build without callbacks, so that they do not count. unknown: why nothing is
    known, else "".
    """

    lines: Sequence[Line] = ()
    blocks: set[int] = field(default_factory=set)
    ran: dict[Vendor, int] = field(default_factory=dict)
    of: dict[Vendor, int] = field(default_factory=dict)
    unlike: int = 0
    unknown: str = ""

    def verdicts(self) -> list[tuple[Line, str]]:
        return verdicts(self.lines, self.blocks)

    @property
    def done(self) -> bool:
        """Can running more tell more?"""
        return all(verdict != NOT_REACHED for _, verdict in self.verdicts())


def reach(
    name: str,
    build: Build,
    hunks: Sequence[Hunk],
    hunts: Mapping[Vendor, Hunt],
    out: Path,
    going_on: Callable[[], bool],
    telling: Telling,
) -> Reached:
    """Run what `hunts` ran until each line is reached, or all has been run.

    name, build: the patch, and what it is with callbacks. out: the folder of what was run before.
    going_on: asked before each chunk. Raises LiveError and OSError.
    """
    numbers = {block.place: number for number, block in enumerate(read_blocks(build.modules))}
    result = Reached(changed_lines(hunks, read_lines(build.modules)))
    wanted = frozenset().union(
        *(code.blocks | code.before for line in result.lines for code in line.codes)
    )
    todo = {
        vendor: [one for one in hunt.ran.values() if whole(hunt, one, name)]
        for vendor, hunt in hunts.items()
    }
    result.of = {vendor: len(schedules) for vendor, schedules in todo.items()}
    take_up(out / NAME, build, result)

    def run(vendor: Vendor, some: Sequence[Schedule], up: Guests) -> None:
        plain = [schedule_json(schedule) for schedule in some]
        with telling.ticking(f"{vendor}: {len(plain)} schedules on {name}, from inside") as tick:
            traces, reports = run_variants(
                plain, {name: build}, vendor, 1, tick, False, MOST_BROKEN, up, COVERAGE
            )
        for trouble in reports[name].troubles:
            telling.trouble(f"live {name}, from inside: {trouble}")
        for number, schedule in enumerate(some):
            shown = tuple(map(observation_of, traces[name][number]))
            if why(shown):
                continue
            if shown == hunts[vendor].journal.shown_by(schedule)[name]:
                places = reports[name].ended[number].reached
                result.blocks |= {numbers[one] for one in places if one in numbers} & wanted
            else:
                result.unlike += 1

    with guests() as up:
        while going_on() and not result.done:
            chunks = dict(next_chunks(todo, result.ran))
            if not chunks:
                break
            for vendor, some in chunks.items():
                run(vendor, some, up)
                result.ran[vendor] = result.ran.get(vendor, 0) + len(some)
                keep(out / NAME, build, result)
    return result


def whole(hunt: Hunt, schedule: Schedule, name: str) -> bool:
    """Did a schedule run to its end on the variant?"""
    shown = hunt.journal.shown_by(schedule)
    return bool(shown) and not why(shown[name])


def next_chunks(
    todo: Mapping[Vendor, Sequence[Schedule]], ran: Mapping[Vendor, int]
) -> Iterator[tuple[Vendor, Sequence[Schedule]]]:
    """What to run next, of each vendor that has some left: few at first, they may be enough."""
    for vendor, schedules in todo.items():
        done = ran.get(vendor, 0)
        first, others = CHUNKS[vendor]
        if some := schedules[done : done + (others if done else first)]:
            yield vendor, some


def take_up(path: Path, build: Build, result: Reached) -> None:
    """Go on from what was run before, if it was of the same build."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return
    if kept["build"] == build.modules.name:
        result.blocks, result.ran, result.unlike = set(kept["blocks"]), kept["ran"], kept["unlike"]


def keep(path: Path, build: Build, result: Reached) -> None:
    kept = {
        "build": build.modules.name,
        "ran": result.ran,
        "blocks": sorted(result.blocks),
        "unlike": result.unlike,
    }
    write_whole(path, json.dumps(kept) + "\n")
