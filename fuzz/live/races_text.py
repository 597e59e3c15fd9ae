"""Races as text: for each build, at which blocks a message has which outcome."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from fuzz.compare.traces import Trace, observation_json
from fuzz.live.landings import Race, landing_at
from fuzz.live.race_models import Points
from fuzz.live.race_shrink import Smallest
from fuzz.live.races import Interval, Told
from fuzz.report.trace import short
from fuzz.report.words import message
from fuzz.report.words import told as in_words
from fuzz.schedule.schedule import BLOCK
from fuzz.schedule.text import dump
from variants.live.inside import Block
from variants.live.landing import MOST_PASSED
from variants.live.layout import Place

Blocks = Mapping[Place, Block]
CAME_TO: Final = ("both", "before", "after", "neither")
"""What a landing shows that comes with the message before the step, after it, or whenever."""


def races_text(
    race: Race,
    told: Mapping[str, Told],
    blocks: Mapping[str, Blocks],
    models: Mapping[str, Points],
) -> Iterator[str]:
    """A race's lines: what races with what, then the intervals of each build.

    models: by build what its model shows, if it has one.
    """
    schedule = race.schedule
    step = schedule.steps[race.step]
    yield f"{schedule.name}: {messages(race)} while {in_words(step)} (step {race.step})"
    for name, one in told.items():
        missed = f"; {one.missed} landings missed their block" if one.missed else ""
        cut = ", and more that are left out" if one.blocks == MOST_PASSED else ""
        yield f"  {name}: {one.blocks} blocks{cut}{missed}"
        for part in one.intervals:
            yield f"    {interval_text(race, one, part, blocks[name])}"
            if name in models:
                yield f"{'':18}model: {', '.join(models[name].get(part.trace, ['at no point']))}"
        shown = {part.trace for part in one.intervals}
        for outcome, points in models.get(name, {}).items():
            if outcome not in shown:
                yield f"    at no block: the model's {', '.join(points)}"


def interval_text(race: Race, told: Told, part: Interval, blocks: Blocks) -> str:
    """An interval in a line: its blocks, their outcome, where it begins and ends."""
    what = f"as {' and '.join(part.like)}" if part.like else f"neither: {apart(race, told, part)}"
    rules = "".join(f"; breaks {rule} in step {step}" for step, rule in part.rules)
    sure = "" if part.sure else "; not so again"
    ends = f"[{span(part, blocks)}]"
    return f"{part.first.number:4} to {part.last.number:4}  {what}{rules}{sure}  {ends}"


def apart(race: Race, told: Told, part: Interval) -> str:
    """From the step of the race on, each step that is unlike both edges, or like one alone."""
    words = []
    for step in range(race.step, len(part.trace)):
        one, before, after = (
            trace[step] if step < len(trace) else None
            for trace in (part.trace, told.before, told.after)
        )
        like = "" if one not in (before, after) else "*"
        if one and not (one == before == after):
            words.append(f"{step} {short(one)}{like}")
    return ", ".join(words)


def came_to(told: Iterable[Told]) -> dict[str, int]:
    """How many landings were as before the step, as after it, as both, as neither."""
    counts = Counter(dict.fromkeys(CAME_TO, 0))
    for part in (part for one in told for part in one.intervals):
        counts[word_of(part)] += part.landings
    return dict(counts)


def word_of(part: Interval) -> str:
    """The word of `CAME_TO` for an interval's landings."""
    return "both" if len(part.like) > 1 else part.like[0] if part.like else "neither"


def races_table(races: Sequence[Race], told: Mapping[str, Sequence[Told]]) -> Iterator[str]:
    """A row of Markdown for each schedule and build: what its landings came to, and which rules
    those break that were neither as before nor as after."""
    yield f"| schedule | kernel | races | landings | {' | '.join(CAME_TO)} | breaks |"
    yield f"|{' --- |' * (5 + len(CAME_TO))}"
    for schedule in dict.fromkeys(race.schedule.name for race in races):
        numbers = [n for n, race in enumerate(races) if race.schedule.name == schedule]
        for name, of_all in told.items():
            mine = [of_all[number] for number in numbers]
            counts = came_to(mine)
            cells = (
                schedule,
                name,
                len(mine),
                sum(counts.values()),
                *counts.values(),
                broken(mine),
            )
            yield f"| {' | '.join(map(str, cells))} |"


def broken(told: Iterable[Told]) -> str:
    """The rules that landings break, and how many do."""
    rules: Counter[str] = Counter()
    for part in (part for one in told for part in one.intervals):
        rules.update(dict.fromkeys((rule for _, rule in part.rules), part.landings))
    return ", ".join(f"{rule} {times}" for rule, times in sorted(rules.items())) or "-"


def race_totals(told: Sequence[Told]) -> str:
    """What races came to on one build."""
    landings = sum(part.landings for one in told for part in one.intervals)
    outcomes = [{part.trace: part.like for part in one.intervals} for one in told]
    neither = sum(not like for of_race in outcomes for like in of_race.values())
    missed = sum(one.missed for one in told)
    said = f"{len(told)} races, {landings} landings, {sum(map(len, outcomes))} outcomes"
    said += f", {neither} of them neither as before nor as after"
    return said + (f"; {missed} landings missed their block" if missed else "")


def smallest_text(found: Smallest, blocks: Mapping[str, Blocks]) -> str:
    """A minimised race as YAML; what it is about says where it is lost, and by whom."""
    race, rule = found.race, found.lost.rule
    ends = [f"{name} at {span(part, blocks[name])}" for name, part in found.lost.first.items()]
    keep = ", ".join(name for name in found.told if name not in found.lost.first)
    about = f"{messages(race)}: lost by {', '.join(ends)}, where it breaks {rule}"
    about += f"; not by {keep}." if keep else "."
    number = next(iter(found.lost.first.values())).first.number
    return dump(landing_at(race, f"{BLOCK}{number}")._replace(about=about))


def messages(race: Race) -> str:
    """What lands, in words."""
    return " and ".join(message(race.schedule.steps[number]) for number in race.messages)


def span(part: Interval, blocks: Blocks) -> str:
    """Where an interval begins and ends."""
    return " .. ".join(where(blocks[one.place]) for one in (part.first, part.last))


def where(block: Block) -> str:
    """A block by its function and line, the innermost that is not a helper of a header."""
    frame = next((one for one in block.frames if one.file.endswith(".c")), block.frames[0])
    return f"{frame.function} {frame.file.rpartition('/')[2]}:{frame.line}"


def races_json(
    race: Race, told: Mapping[str, Told], blocks: Mapping[str, Blocks]
) -> dict[str, Any]:
    """The same for machines."""
    return {
        "schedule": race.schedule.name,
        "vendor": race.schedule.vendor,
        "sent": race.sent,
        "also": race.also,
        "step": race.step,
        "races": {
            name: {
                "blocks": one.blocks,
                "missed": one.missed,
                "before": trace_json(one.before),
                "after": trace_json(one.after),
                "landings": came_to([one]),
                "intervals": [interval_json(part, blocks[name]) for part in one.intervals],
            }
            for name, one in told.items()
        },
    }


def interval_json(part: Interval, blocks: Blocks) -> dict[str, Any]:
    return {
        "first": part.first.number,
        "last": part.last.number,
        "landings": part.landings,
        "sure": part.sure,
        "like": list(part.like),
        "rules": [{"step": step, "rule": rule} for step, rule in part.rules],
        "where": [where(blocks[one.place]) for one in (part.first, part.last)],
        "trace": trace_json(part.trace),
    }


def trace_json(trace: Trace) -> Sequence[Any]:
    return [observation_json(number, one) for number, one in enumerate(trace)]
