"""Live traces as text: alone, or below what the models do."""

import textwrap
from collections.abc import Sequence

from fuzz.compare.traces import Split, Traces, differing
from fuzz.live.run import breaks, known, quirk
from fuzz.report.replay import Replay
from fuzz.report.trace import WIDTH, head, split_lines, table
from fuzz.schedule.schedule import Schedule
from variants.live.bochs import Version


def live_text(schedule: Schedule, traces: Traces, splits: Sequence[Split]) -> str:
    """What the live variants showed, side by side, at most `WIDTH` columns."""
    marks = {split.step: ">" for split in splits}
    legend = f"{schedule.vendor}, {schedule.vcpus} vCPUs, live; `>` marks a divergence"
    lines = [*head(schedule, legend), *table(schedule, {"": traces}, list(traces), marks, {}), ""]
    broken = [line for text in breaks(traces) for line in textwrap.wrap(text, WIDTH)]
    lines += [*split_lines(splits), *broken] or ["the variants agree"]
    return "\n".join([*lines, ""])


def agreement(
    schedule: Schedule, model: Traces, live: Traces, bochs: Version | None
) -> tuple[list[str], dict[int, str]]:
    """Which steps agree, in words, and marks for those that do not.

    Of a kernel without a model there is nothing to say but where its run broke off.
    """
    lines, marks = [], {}
    for name, trace in live.items():
        if name not in model:
            lines += [line for text in breaks({name: trace}) for line in textwrap.wrap(text, WIDTH)]
            continue
        differ = []
        seen = known(trace)
        for number, (expected, one) in enumerate(zip(model[name], seen, strict=False)):
            if one != expected:
                marks[number] = "!"
                fields = "; ".join(
                    f"{field}: model {getattr(expected, field)}, live {getattr(one, field)}"
                    for field in differing(expected, one)
                )
                differ.append(f"  step {number}: {fields}")
        agree, count = len(seen) - len(differ), len(model[name])
        lines.append(f"{name}: live KVM agrees with the model in {agree} of {count} steps")
        if why := quirk(schedule, model[name], trace, bochs):
            differ.append(f"  the emulator's quirk {why}, see docs/live-quirks.md")
        differ += breaks({name: trace})
        lines += [line for text in differ for line in textwrap.wrap(text, WIDTH)]
    return lines, marks


def both_text(result: Replay, live: Traces, bochs: Version | None) -> str:
    """Model and live traces of a schedule, where they agree, and where the models diverge.

    bochs: as in `quirk_of`.
    """
    schedule, model = result.schedule, result.traces
    names = [*model, *(name for name in live if name not in model)]
    said, wrong = agreement(schedule, model, live, bochs)
    marks = {split.step: ">" for split in result.splits} | wrong
    legend = f"{schedule.vendor}, {schedule.vcpus} vCPUs; "
    legend += "`>` marks a divergence, `!` live KVM unlike the model"
    lines = head(schedule, legend)
    lines += table(schedule, {"model": model, "live": live}, names, marks, result.held)
    return "\n".join([*lines, "", *split_lines(result.splits), *said, ""])
