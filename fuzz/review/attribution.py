"""What a difference is laid to: hunks of a patch, or a step from one kernel to the next."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fuzz.compare.traces import Traces
from fuzz.live.run import Telling, known, run_once, why
from fuzz.review.blame import Hunks, laid_to, turns
from fuzz.review.findings import Found
from fuzz.review.marks import ENDS, marks, value_of
from variants.live.between import between
from variants.live.emulator import Unavailable
from variants.live.hunks import Hunk
from variants.live.runner import Build
from variants.live.subsets import subset_builds
from variants.machine.step import Vendor

Differences = Sequence[tuple[Vendor, Found]]


def by_vendor(
    found: Differences, builds: Mapping[str, Build], telling: Telling
) -> dict[int, Traces]:
    """What the differences' schedules show on `builds`, by place in `found`; in fresh VMs."""
    shown: dict[int, Traces] = {}
    for vendor in dict.fromkeys(vendor for vendor, _ in found):
        numbers = [number for number, (one, _) in enumerate(found) if one == vendor]
        schedules = [found[number][1].shortest.schedule for number in numbers]
        traces = run_once(schedules, builds, telling, len(builds), True)
        shown |= dict(zip(numbers, traces, strict=True))
    return shown


def lay_to_hunks(
    found: Differences,
    cache: Path | None,
    patch: str,
    base: tuple[str, Build],
    hunks: Sequence[Hunk],
    telling: Telling,
) -> None:
    """Say for each difference without which hunks of a patch, that is set up, it is gone.

    base: the name and the build of what it is compared with. Raises LiveError and OSError.
    """
    if len(hunks) == 1:
        for _, one in found:
            one.hunks = (str(hunks[0]),)
        return
    kept: dict[Hunks, list[bool | None]] = {}

    def ask(sets: Sequence[Hunks]) -> None:
        new = [one for one in sets if one not in kept]
        built = subset_builds(cache, patch, new) if new else {}
        names = {one: f"{patch} with {numbered(one)}" for one in new}
        builds = {names[one]: build for one, build in built.items() if isinstance(build, Build)}
        shown = by_vendor(found, dict([base]) | builds, telling) if builds else {}
        for one in new:
            kept[one] = [
                shows(found[number][1], base[0], names[one], shown[number])
                if names[one] in builds
                else None
                for number in range(len(found))
            ]

    for number, (_, one) in enumerate(found):

        def showing(sets: Sequence[Hunks], number: int = number) -> dict[Hunks, bool | None]:
            ask(sets)
            return {some: kept[some][number] for some in sets}

        laid = laid_to(len(hunks), showing)
        one.hunks = tuple(
            " with ".join(str(hunks[hunk - 1]) for hunk in sorted(some)) for some in laid.sets
        )


def numbered(hunks: Hunks) -> str:
    return ",".join(map(str, sorted(hunks))) or "none"


def shows(found: Found, base: str, other: str, traces: Traces) -> bool:
    """Does the other variant part from the base as the difference has it?"""
    both = {name: traces[name] for name in (base, other)}
    return any(
        (mark.field, mark.values) == (found.mark.field, found.mark.values)
        for _, mark in marks(found.shortest.schedule, both)
    )


def lay_to_kernels(
    found: Differences,
    cache: Path | None,
    ends: tuple[tuple[str, Build], tuple[str, Build]],
    mirror: str | None,
    telling: Telling,
) -> None:
    """Say for each difference of two kernels between which of those between them it came.

    Raises LiveError and OSError.
    """
    (one, _), (other, _) = ends
    try:
        middle = between(cache, one, other, mirror)
    except Unavailable as error:
        telling.trouble(f"the kernels between {one} and {other} cannot be had: {error}")
        middle = {}
    if not middle:
        return
    builds = dict([ends[0]]) | middle | dict([ends[1]])
    shown = by_vendor(found, builds, telling)
    for number, (_, difference) in enumerate(found):
        behaviour = {name: at_the_end(difference, name, shown[number]) for name in builds}
        turned = turns(list(builds), behaviour)
        difference.between = ", and ".join(f"changed from {a} to {b}" for a, b in turned)


def at_the_end(found: Found, name: str, traces: Traces) -> str | None:
    """How a kernel behaves in the last step of a difference's schedule; None if not known."""
    schedule = found.shortest.schedule
    trace = traces.get(name, ())
    if found.mark.field == ENDS:
        return "ends" if why(trace) else "goes on"
    if len(known(trace)) < len(schedule.steps):
        return why(trace) or None
    return value_of(found.mark.field, schedule.steps[-1], trace[-1])
