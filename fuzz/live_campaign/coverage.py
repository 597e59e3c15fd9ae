"""Which of the kernels' code a live campaign has reached: counts added up over its sessions, and
`coverage.md`, which says it of the lines that a patch changes and of KVM's event path."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz.campaign.folder import WORK
from fuzz.campaign.tally import Counts, added, of_builds, reached_in
from fuzz.live.coverage import event_path, function_of, table, totals
from fuzz.live.unreached import contexts, read_reasons, why_of
from fuzz.report.folder import markdown
from fuzz.review.changed import changed_lines
from fuzz.review.reached import Reached
from fuzz.review.reached_text import sentences
from fuzz.schedule.file import write_whole
from variants.live.cache import fingerprints
from variants.live.hunks import Hunk
from variants.live.inside import read_blocks, read_flow
from variants.live.layout import Place
from variants.live.lines import read_lines
from variants.live.runner import Build, modules_of

NAME: Final = "reached.json"
PAGE: Final = "coverage.md"
NOTHING: Final[Mapping[str, Any]] = {"session": 0, "counts": {}}


def carry_over(out: Path, session: int, builds: Mapping[str, Build]) -> None:
    """Keep what sessions before `session` have counted, as far as it is of these `builds`, which
    are instrumented. To be called before their files are dropped. Raises OSError."""
    counts = total(out, session - 1, builds)
    write_whole(out / NAME, json.dumps({"session": session - 1, "counts": counts}))


def total(out: Path, session: int, builds: Mapping[str, Build]) -> Counts:
    """What the campaign in `out` has counted until now, in its session of that number. Raises
    OSError."""
    path = out / NAME
    kept = json.loads(path.read_text()) if path.exists() else NOTHING
    later = range(kept["session"] + 1, session + 1)
    files = [counts for number in later for counts in reached_in(out / WORK, number)]
    wanted = fingerprints(builds)
    return added(of_builds(counts, wanted) for counts in (kept["counts"], *files))


def write_coverage(
    out: Path, session: int, builds: Mapping[str, Build], patches: Mapping[str, Sequence[Hunk]]
) -> list[str]:
    """Write `coverage.md`. Gives what there is to say first of all: of the lines that patches
    change, which were not reached. patches: the hunks of those of `builds` that are patches.
    Raises OSError."""
    counts = total(out, session, builds)
    changes = [change_of(name, hunks, builds[name], counts) for name, hunks in patches.items()]
    lines = ["# What the campaign has reached", ""]
    for change in changes:
        lines += [f"## Lines that {change.name} changes", ""]
        lines += [f"{one}." for one in sentences(change.reached)]
        lines += ["", *markdown(("hunk", "line", "", "schedules"), list(rows(change))), ""]
    lines += event_paths(counts, builds)
    write_whole(out / PAGE, "\n".join(lines))
    return [f"{change.name}: {one}" for change in changes for one in sentences(change.reached)]


class Change(NamedTuple):
    """What became of the lines that the patch `name` changes. times: by number of a block, how many
    schedules reached it, of those that any did."""

    name: str
    reached: Reached
    times: Mapping[int, int]


def change_of(name: str, hunks: Sequence[Hunk], build: Build, counts: Counts) -> Change:
    numbers = {block.place: number for number, block in enumerate(read_blocks(build.modules))}
    times = Counter[int]()
    for vendor in counts:
        for place, some in reached_of(counts, vendor, name, numbers).items():
            times[numbers[place]] += some
    return Change(name, Reached(changed_lines(hunks, read_lines(build.modules)), set(times)), times)


def reached_of(counts: Counts, vendor: str, name: str, places: Iterable[Place]) -> dict[Place, int]:
    """How many schedules reached each of a build's `places`, of those that any did."""
    blocks = counts[vendor]["kernels"][name]["blocks"]
    return {place: blocks[str(place)] for place in places if str(place) in blocks}


def rows(change: Change) -> Iterator[list[str]]:
    """For each changed line what became of it, and how many schedules reached its code: as many as
    the most frequent of its blocks."""
    for line, verdict in change.reached.verdicts():
        blocks = {number for code in line.codes for number in code.blocks | code.before}
        most = max((change.times.get(number, 0) for number in blocks), default=0)
        where = f"{line.file}:{line.line}{' (where lines are gone)' if line.gone else ''}"
        yield [str(line.hunk.number), where, verdict, str(most)]


def event_paths(counts: Counts, builds: Mapping[str, Build]) -> Iterator[str]:
    """A section for each vendor and kernel, with a table of the event path's functions."""
    reasons = read_reasons()
    for name, build in builds.items():
        context, flow = contexts(build.modules, function_of), read_flow(build.modules)
        places = [block.place for block in read_blocks(build.modules)]
        for vendor, one in counts.items():
            reached = reached_of(counts, vendor, name, places)
            functions = event_path(build, reached, modules_of(vendor))
            because = why_of(reasons, context, flow, reached)
            yield from (f"## {vendor}, {name}: {one['schedules']} schedules", "")
            yield from (*table(functions, because), "")
            yield from (*totals(functions, reasons, context, because), "")
