"""Traces as text: a table a schedule, variants side by side, at most `WIDTH` columns."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Final

from fuzz.compare.signature import Signature
from fuzz.compare.traces import Split, Traces
from fuzz.report.replay import Replay
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import step_yaml
from variants.machine.machine import Observation

WIDTH: Final = 78
"""Columns that fit a mail."""
LABEL: Final = 8
"""Columns for who is shown, where there is more than one."""
NARROWEST: Final = 14
"""Columns under which variants are listed below each other."""
MODES: Final = {
    "guest_mode": ("in L1", "in L2"),
    "vmxon": ("VMX off", "VMX on"),
    "smm": ("not in SMM", "in SMM"),
}
"""Fields that `short` leaves out, as the outcome mostly says it: words for no and yes."""


def short(observation: Observation) -> str:
    """One observation in a few words."""
    words = [observation.outcome]
    if observation.vector is not None:
        words.append(f"{observation.vector:#04x}")
    if observation.nested_exit:
        reason, qualification, activity = observation.nested_exit
        words.append(f"exit {reason}" + (f" {qualification:#x}" if qualification else ""))
        if activity not in ("", "active"):
            words.append(f"(saved {activity})")
    if not observation.executed:
        words.append("not-executed")
    words += observation.taken
    if observation.mp_state:
        words.append(observation.mp_state)
    if observation.latched_init is not None:
        words.append(f"latched_init={int(observation.latched_init)}")
    if observation.gif is False:
        words.append("GIF=0")
    if observation.woke:
        words.append("woke")
    if observation.warn:
        words.append(f"WARN {observation.warn}")
    return " ".join(words)


def trace_text(result: Replay, signature: Signature | None = None) -> str:
    """The traces of all variants side by side, divergences marked."""
    schedule = result.schedule
    titled = schedule._replace(name=str(signature)) if signature else schedule
    marks = {step: ">" for step, _ in result.divergences}
    lines = head(titled, f"{schedule.vendor}, {schedule.vcpus} vCPUs; `>` marks a divergence")
    lines += table(schedule, {"": result.traces}, list(result.traces), marks)
    for step, found in result.divergences:
        lines += ["", *split_lines([Split(step, found.groups)], f"{found.kind}: ")]
    return "\n".join([*lines, ""])


def head(schedule: Schedule, legend: str) -> list[str]:
    """What stands above a table: the schedule's name and what it is about, and the `legend`."""
    lines = textwrap.wrap(schedule.name, WIDTH) + textwrap.wrap(schedule.about, WIDTH)
    return [*lines, *textwrap.wrap(legend, WIDTH), ""]


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
        lines += textwrap.wrap(title, WIDTH, subsequent_indent="     ")
        for label, traces in rows.items():
            missing = f"no {label}" if label == "model" else "no live build"
            lines += row(label, cells(traces, names, number, missing), names, indent)
    return lines


def cells(traces: Traces, names: Sequence[str], step: int, missing: str) -> list[str]:
    """What each variant showed in a step, as `cell` has it. Two that showed different things never
    look alike: what `short` leaves out is said where it tells them apart."""
    texts = [cell(traces, name, step, missing) for name in names]
    seen = [traces.get(name, ())[step : step + 1] for name in names]
    for field, words in MODES.items():
        apart = [
            {
                getattr(one, field)
                for text, some in zip(texts, seen, strict=True)
                if text == texts[n]
                for one in some
            }
            for n in range(len(names))
        ]
        texts = [
            f"{text} {words[bool(getattr(some[0], field))]}" if len(values) > 1 else text
            for text, some, values in zip(texts, seen, apart, strict=True)
        ]
    return texts


def cell(traces: Traces, name: str, step: int, missing: str) -> str:
    """What a variant showed in a step; where a live run broke off, why; `missing` for no trace."""
    if name not in traces:
        return missing
    if step >= len(traces[name]):
        return "-"
    observation = traces[name][step]
    if observation.outcome == "error" and observation.warn:
        return observation.warn
    return short(observation)


def row(label: str, cells: Sequence[str], names: Sequence[str], indent: int) -> list[str]:
    """The cells side by side, or below each other where there are too many."""
    column = (WIDTH - indent) // len(names)
    if column < NARROWEST:
        listed = [
            textwrap.wrap(
                f"{f'{name} {label}'.rstrip()}: {text}", WIDTH - 7, subsequent_indent="  "
            )
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


def split_lines(splits: Sequence[Split], what: str = "") -> list[str]:
    """Who parts from whom, a line each."""
    lines = []
    for split in splits:
        groups = " | ".join(" + ".join(group) for group in split.groups)
        lines += textwrap.wrap(f"step {split.step}: {what}{groups}", WIDTH)
    return lines
