"""`trace.txt`: a finding in 78 columns, to paste into a mail."""

import textwrap
from collections.abc import Sequence
from shlex import join
from typing import Final, NamedTuple

from fuzz.report.replay import Replay
from fuzz.report.trace import WIDTH, head, table_of
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import dump

FILE: Final = "reproducer.yaml"
"""What the schedule of a finding is called."""


class Told(NamedTuple):
    """What is said of a finding above its trace.

    title: what differs, in a sentence. ruling: who is right, and by which rule; a paragraph each,
    none where nobody was asked. live: what became of it on real KVM, "" if that was not asked.
    """

    title: str
    ruling: tuple[str, ...] = ()
    live: str = ""


def mail_text(result: Replay, told: Told, options: Sequence[str]) -> str:
    """`trace.txt`. options: what makes `replay` compare the same variants."""
    schedule = result.schedule
    lines = head(schedule._replace(name=told.title, about=""), where(schedule))
    for paragraph in told.ruling:
        lines[-1:] = [*textwrap.wrap(paragraph, WIDTH), ""]
    lines += table_of(result)
    lines += ["", f"Real KVM: {told.live or 'not asked'}", ""]
    lines += [f"  {command(options)}", "", f"with this as {FILE}:", "", *yaml_lines(schedule)]
    return "\n".join([*lines, ""])


def where(schedule: Schedule) -> str:
    return f"{schedule.vendor}, {schedule.vcpus} vCPUs; `>` marks where variants part"


def command(options: Sequence[str]) -> str:
    """The command that replays a finding, in its folder."""
    return join(["eventdiff", "replay", *options, FILE])


def yaml_lines(schedule: Schedule) -> list[str]:
    """The schedule as YAML, without a name, its steps folded to `WIDTH` columns."""
    text = dump(schedule._replace(name="", about=""))
    return [
        part
        for line in text.splitlines()
        if line != "name: ''"
        for part in textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    ]
