"""What is said of the lines that a patch changes: which were reached, and which were not."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from fuzz.review.changed import NO_CODE, NOT_REACHED, REACHED, Line
from fuzz.review.reached import Reached

NEVER: Final = "Which of the changed lines were reached is not known"

Verdicts = Sequence[tuple[Line, str]]


def sentences(reached: Reached | None) -> Iterator[str]:
    """What is said first of all of a patch; None if it was not come to."""
    if not reached or reached.unknown:
        yield f"{NEVER}: {reached.unknown}" if reached else NEVER
        return
    verdicts = reached.verdicts()
    coded = [(line, one) for line, one in verdicts if one != NO_CODE]
    missed = sum(one == NOT_REACHED for _, one in coded)
    sure = sum(one == REACHED for _, one in coded)
    if not coded:
        yield "No changed line has code"
    elif sure == len(coded):
        yield f"Every changed line that has code was reached ({sure})"
    else:
        yield f"Of {len(coded)} changed lines that have code {sure} were reached"
    yield from (of_hunk(some) for some in by_hunk(verdicts) if NOT_REACHED in of(some))
    untold = [(line, one) for line, one in coded if one not in (REACHED, NOT_REACHED)]
    for why in dict.fromkeys(one for _, one in untold):
        yield f"It cannot be told of {places(line for line, one in untold if one == why)}: {why}"
    bare = [some[0][0].hunk for some in by_hunk(verdicts) if of(some) == {NO_CODE}]
    if bare and coded:
        yield f"No code is in {', '.join(f'hunk {hunk.number} ({hunk.file})' for hunk in bare)}"
    ran, whole = sum(reached.ran.values()), sum(reached.of.values())
    if missed and ran < whole:
        yield f"To see that, {ran} of {whole} schedules were run"
    if reached.unlike:
        yield f"{reached.unlike} schedules do not count, as they went otherwise when instrumented"


def by_hunk(verdicts: Verdicts) -> list[Verdicts]:
    return [list(some) for _, some in groupby(verdicts, key=lambda one: one[0].hunk.number)]


def of(verdicts: Verdicts) -> set[str]:
    return {verdict for _, verdict in verdicts}


def missed_whole(verdicts: Verdicts) -> bool:
    """Was nothing of it reached that has code?"""
    return of(verdicts) - {NO_CODE} == {NOT_REACHED}


def of_hunk(verdicts: Verdicts) -> str:
    """What of a hunk was not reached."""
    hunk = verdicts[0][0].hunk
    missed = places(line for line, verdict in verdicts if verdict == NOT_REACHED)
    where = f" ({hunk.where})" if hunk.where else ""
    if missed_whole(verdicts):
        return f"Hunk {hunk.number} was not reached: {missed}{where}"
    return f"Of hunk {hunk.number} these lines were not reached: {missed}{where}"


def places(lines: Iterable[Line]) -> str:
    """FILE:LINE, LINE, ..; FILE:.."""

    def place(line: Line) -> str:
        return f"{line.line}{' (where lines are gone)' if line.gone else ''}"

    return "; ".join(
        f"{file}:{', '.join(map(place, some))}"
        for file, some in groupby(lines, key=lambda one: one.file)
    )


def doubt(reached: Reached | None) -> str:
    """What is to be added to `No difference`; "" for nothing."""
    if not reached or reached.unknown:
        return ", but which of the changed lines were reached is not known"
    verdicts = reached.verdicts()
    hunks = [str(some[0][0].hunk.number) for some in by_hunk(verdicts) if missed_whole(some)]
    if hunks:
        were = "hunk {} was" if len(hunks) == 1 else "hunks {} were"
        return f", but {were.format(', '.join(hunks))} not reached"
    unsure = sum(verdict not in (REACHED, NO_CODE) for _, verdict in verdicts)
    return f", but {unsure} of the changed lines were not seen to be reached" if unsure else ""


def nothing_reached(reached: Reached | None) -> bool:
    """Is it known that no code of a patch was reached?"""
    return reached is not None and missed_whole(reached.verdicts())


def reached_json(reached: Reached | None) -> dict[str, Any] | None:
    """For `review.json`."""
    if not reached:
        return None
    lines = [
        {
            "hunk": line.hunk.number,
            "file": line.file,
            "line": line.line,
            "gone": line.gone,
            "verdict": verdict,
        }
        for line, verdict in reached.verdicts()
    ]
    return {
        "lines": lines,
        "not_reached": [
            f"{one['file']}:{one['line']}" for one in lines if one["verdict"] == NOT_REACHED
        ],
        "schedules": dict(reached.ran),
        "unlike": reached.unlike,
        "unknown": reached.unknown,
    }
