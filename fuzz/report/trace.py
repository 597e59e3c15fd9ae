"""Traces as text: a table a schedule, variants side by side, at most `WIDTH` columns."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from fuzz.compare.signature import Divergence
from fuzz.compare.traces import Split, Traces
from fuzz.report.inside import Held, unlike
from fuzz.report.replay import Replay
from fuzz.report.words import lands, told, vcpu
from fuzz.schedule.schedule import Schedule
from variants.machine.observation import Observation
from variants.machine.step import TO_SELF, Step, targets

WIDTH: Final = 78
"""Columns that fit a mail."""
INDENT: Final = 5
"""Columns before what a step shows."""
LABEL: Final = 9
"""The same, where there is more than one to show: the model, real KVM."""
NARROWEST: Final = 14
"""Columns under which variants are listed below each other."""
GLOSSARY: Final = {
    "blocked": "KVM_RUN waits",
    "busy": "KVM spins and the guest does not run",
    "woke": "an HLT ended, and the guest has nothing to show for it",
    "not-executed": "the vCPU did not get to the step's instruction",
}
"""What words of `short` mean."""
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


def trace_text(result: Replay) -> str:
    """The traces of all variants side by side, divergences marked."""
    schedule = result.schedule
    lines = head(schedule, f"{schedule.vendor}, {schedule.vcpus} vCPUs; `>` marks a divergence")
    return "\n".join([*lines, *table_of(result), ""])


def table_of(result: Replay) -> list[str]:
    """The table of `trace_text`, the divergences, and what the words in it mean."""
    marks = {step: ">" for step, _ in result.divergences}
    lines = table(result.schedule, {"": result.traces}, list(result.traces), marks, result.held)
    lines += [""] if result.divergences else []
    for step, found in result.divergences:
        lines += split_lines([Split(step, found.groups)], f"{found.kind}: ")
        if found.kind == "latent":
            lines += textwrap.wrap(f"they differ in {', '.join(hidden(result, found))}", WIDTH)
    meant = glossary(lines)
    return [*lines, "", *meant] if meant else lines


def hidden(result: Replay, found: Divergence) -> list[str]:
    """The fields of the vCPUs in which the first two sides of a latent divergence differ."""
    one, other = (result.held[side[0]][-1] for side in found.groups[:2])
    fields = {name: None for a, b in zip(one, other, strict=True) for name in unlike(a, b)}
    return list(fields)


def glossary(lines: Sequence[str]) -> list[str]:
    """What the words in a table's `lines` mean that are not plain."""
    used = {word for line in lines for word in line.split()}
    meanings = [f"{word}: {meaning}" for word, meaning in GLOSSARY.items() if word in used]
    return textwrap.wrap("; ".join(meanings), WIDTH)


def head(schedule: Schedule, legend: str) -> list[str]:
    """What stands above a table: the schedule's name and what it is about, and the `legend`."""
    lines = textwrap.wrap(schedule.name, WIDTH) + textwrap.wrap(schedule.about, WIDTH)
    return [*lines, *textwrap.wrap(legend, WIDTH), ""]


def table(
    schedule: Schedule,
    rows: Mapping[str, Traces],
    names: Sequence[str],
    marks: Mapping[int, str],
    held: Mapping[str, Held],
) -> list[str]:
    """A line a step, then a row for each label of `rows`, then what is left pending on whom.

    marks: by step, what stands before it. held: of the variants that have a model.
    """
    indent = LABEL if len(rows) > 1 else INDENT
    column = (WIDTH - indent) // len(names)
    lines = []
    if column >= NARROWEST:
        for parts in (names, ["-" * (column - 1)] * len(names)):
            titles = "".join(part[: column - 1].ljust(column) for part in parts)
            lines.append((" " * indent + titles).rstrip())
    for number, step in enumerate(schedule.steps):
        lines += wrapped(f"{marks.get(number, ' ')} {number}. {told(step)}")
        if step.at:
            lines += wrapped(f"{'':{INDENT}}{lands(step)}")
        if number in marks or not only_sent(step, number, rows):
            if sends(step):
                lines.append(f"{'':{INDENT}}on {vcpu(step.on)}:")
            for label, traces in rows.items():
                missing = f"no {label}" if label == "model" else "no live build"
                lines += row(label, cells(traces, names, number, missing), names, indent)
        lines += pending_lines(schedule, number, names, held, indent)
    return lines


def wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * INDENT)


def only_sent(step: Step, number: int, rows: Mapping[str, Traces]) -> bool:
    """Has a step only sent a message, and its sender nothing to show but that it runs on?"""
    if not (step.op in ("smi", "nmi") or sends(step)):
        return False
    shown = [trace[number:][:1] for traces in rows.values() for trace in traces.values()]
    texts = {short(one) for some in shown for one in some}
    return all(map(len, shown)) and len(texts) == 1 and texts <= {"l1", "l2", "smm", "ioctl"}


def sends(step: Step) -> bool:
    """Is the step an ICR write to others alone?"""
    return step.op == "icr" and step.to not in (TO_SELF, step.on)


def pending_lines(
    schedule: Schedule, number: int, names: Sequence[str], held: Mapping[str, Held], indent: int
) -> Iterator[str]:
    """What a step leaves pending, of the models: on who acted, and on whom a message was sent to.

    A line for all variants if they agree, else a row.
    """
    step = schedule.steps[number]
    for one in sorted({step.on, *sent_to(step, schedule.vcpus)}):
        pending = {name: held[name][number][one].pending for name in names if name in held}
        if not any(pending.values()):
            continue
        texts = {
            name: f"{', '.join(events) or 'nothing'} pending" for name, events in pending.items()
        }
        if len(set(texts.values())) == 1:
            yield f"{'':{INDENT}}{vcpu(one)}: {next(iter(texts.values()))}"
            continue
        if one != step.on:
            yield f"{'':{INDENT}}on {vcpu(one)}:"
        yield from row("", [texts.get(name, "") for name in names], names, indent)


def sent_to(step: Step, vcpus: int) -> tuple[int, ...]:
    """Whom the message of an `icr` step has reached when the step ends."""
    return targets(step, vcpus) if step.op == "icr" and not step.at else ()


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
    parts_of = [textwrap.wrap(text, column - 2) for text in cells]
    rows = []
    for number in range(max(map(len, parts_of))):
        parts = [lines[number] if number < len(lines) else "" for lines in parts_of]
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
