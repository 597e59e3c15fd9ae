"""Live traces as text: a table a schedule, the model's observations above those of live KVM."""

import textwrap
from collections.abc import Mapping, Sequence

from fuzz.live.run import Split, breaks, differing_fields, known, quirk, seen_at
from fuzz.report.folder import WIDTH, short
from fuzz.report.replay import Trace
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import step_yaml
from variants.machine.machine import Observation

LABEL = 8
"""Columns for who is shown: `model`, `live`, or nothing where there is one of them only."""
NARROWEST = 14
"""Columns under which variants are listed below each other."""

Traces = Mapping[str, Trace]
"""By variant."""


def cell(observation: Observation | None) -> str:
    """One observation; where a live run broke off, why."""
    if observation is None:
        return "-"
    if observation.outcome == "error" and observation.warn:
        return observation.warn
    return short(observation)


def head(schedule: Schedule, legend: str) -> list[str]:
    lines = textwrap.wrap(schedule.name, WIDTH) + textwrap.wrap(schedule.about, WIDTH)
    return [*lines, *textwrap.wrap(legend, WIDTH), ""]


def row(label: str, cells: Sequence[str], names: Sequence[str], indent: int) -> list[str]:
    """The cells side by side, or below each other where there are too many."""
    column = (WIDTH - indent) // len(names)
    if column < NARROWEST:
        listed = [
            textwrap.wrap(f"{name} {label}: {text}", WIDTH - 7, subsequent_indent="  ")
            for name, text in zip(names, cells, strict=True)
        ]
        return [f"     {line}" for lines in listed for line in lines]
    wrapped = [textwrap.wrap(text, column - 2) for text in cells]
    rows = []
    for number in range(max(map(len, wrapped))):
        parts = [lines[number] if number < len(lines) else "" for lines in wrapped]
        start = f"  {label if not number else ''}".ljust(indent)
        rows.append((start + "".join(part.ljust(column) for part in parts)).rstrip())
    return rows


def table(
    schedule: Schedule, rows: Mapping[str, Traces], names: Sequence[str], marks: Mapping[int, str]
) -> list[str]:
    """A line a step, then a row for each label of `rows`. marks: by step, what stands before it."""
    indent = LABEL if len(rows) > 1 else 2
    column = (WIDTH - indent) // len(names)
    lines = []
    if column >= NARROWEST:
        for parts in (names, ["-" * (column - 1)] * len(names)):
            titles = "".join(part[: column - 1].ljust(column) for part in parts)
            lines.append((" " * indent + titles).rstrip())
    for number, step in enumerate(schedule.steps):
        title = f"{marks.get(number, ' ')} {number}. {step_yaml(step)}"
        lines += textwrap.wrap(title, WIDTH, subsequent_indent="     ", drop_whitespace=False)
        for label, traces in rows.items():
            cells = [
                cell(seen_at(traces[name], number)) if name in traces else "no live build"
                for name in names
            ]
            lines += row(label, cells, names, indent)
    return lines


def split_lines(splits: Sequence[Split], what: str = "") -> list[str]:
    lines = []
    for split in splits:
        groups = " | ".join(" + ".join(group) for group in split.groups)
        lines += textwrap.wrap(f"step {split.step}: {what}{groups}", WIDTH)
    return lines


def live_text(schedule: Schedule, traces: Traces, splits: Sequence[Split]) -> str:
    """What the live variants showed, side by side, at most `WIDTH` columns."""
    marks = {split.step: ">" for split in splits}
    legend = f"{schedule.vendor}, {schedule.vcpus} vCPUs, live; `>` marks a divergence"
    lines = [*head(schedule, legend), *table(schedule, {"": traces}, list(traces), marks), ""]
    broken = [line for text in breaks(traces) for line in textwrap.wrap(text, WIDTH)]
    lines += [*split_lines(splits), *broken] or ["the variants agree"]
    return "\n".join([*lines, ""])


def agreement(schedule: Schedule, model: Traces, live: Traces) -> tuple[list[str], dict[int, str]]:
    """Which steps agree, in words, and marks for those that do not."""
    lines, marks = [], {}
    for name, trace in live.items():
        differ = []
        seen = known(trace)
        for number, (expected, one) in enumerate(zip(model[name], seen, strict=False)):
            if one != expected:
                marks[number] = "!"
                fields = "; ".join(differing_fields(expected, one))
                differ.append(f"  step {number}: {fields}")
        agree, count = len(seen) - len(differ), len(model[name])
        lines.append(f"{name}: live KVM agrees with the model in {agree} of {count} steps")
        if why := quirk(schedule, model[name], trace):
            differ.append(f"  the emulator's quirk {why}, see docs/live-quirks.md")
        differ += breaks({name: trace})
        lines += [line for text in differ for line in textwrap.wrap(text, WIDTH)]
    return lines, marks


def both_text(schedule: Schedule, model: Traces, live: Traces, splits: Sequence[Split]) -> str:
    """Model and live traces of a schedule, where they agree, and where the models diverge."""
    about = f"{schedule.vendor}, {schedule.vcpus} vCPUs; "
    names = list(model)
    if not live:
        legend = about + "`>` marks a divergence"
        lines = head(schedule, legend)
        lines += table(schedule, {"": model}, names, {split.step: ">" for split in splits})
        return "\n".join([*lines, "", *split_lines(splits), "model only: a race (`at`)", ""])
    said, wrong = agreement(schedule, model, live)
    marks = {split.step: ">" for split in splits} | wrong
    legend = about + "`>` marks a divergence, `!` live KVM unlike the model"
    lines = head(schedule, legend)
    lines += table(schedule, {"model": model, "live": live}, names, marks)
    return "\n".join([*lines, "", *split_lines(splits), *said, ""])
