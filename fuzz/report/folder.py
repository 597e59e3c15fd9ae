"""What a campaign writes: a folder a signature, a machine-readable list and a table."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.compare.signature import Divergence, Finding, Signature
from fuzz.memory.automaton import Automaton
from fuzz.report.replay import Replay, replay, replay_json
from fuzz.schedule.file import write_whole
from fuzz.schedule.schedule import printable
from fuzz.schedule.text import dump, step_yaml
from variants.machine.machine import Observation

WIDTH = 78
"""Columns that fit a mail."""


class Verdict(NamedTuple):
    """What became of a finding on real KVM. reason: why it is for models only."""

    word: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word} ({self.reason})" if self.reason else self.word


Verdicts = Mapping[Signature, Verdict]
"""By signature; empty if real KVM was not asked."""


def slug(signature: Signature) -> str:
    """A stable folder name for `signature`."""
    words = str(signature).lower().replace(" | ", " vs ").replace("+", " and ").replace("=", " is ")
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


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
    """The traces of all variants side by side, at most `WIDTH` columns, divergences marked."""
    schedule = result.schedule
    marks = dict(reversed(result.divergences))
    lines = textwrap.wrap(str(signature or schedule.name), WIDTH)
    lines += textwrap.wrap(schedule.about, WIDTH)
    lines.append(f"{schedule.vendor}, {schedule.vcpus} vCPUs; `>` marks a divergence")
    lines.append("")
    names = list(result.traces)
    column = (WIDTH - 2) // len(names)
    if column >= 14:
        lines.append("  " + "".join(name[: column - 1].ljust(column) for name in names).rstrip())
        lines.append("  " + "".join(("-" * (column - 1)).ljust(column) for _ in names).rstrip())
    for number, step in enumerate(schedule.steps):
        mark = ">" if number in marks else " "
        head = f"{mark} {number}. {step_yaml(step)}"
        lines += textwrap.wrap(head, WIDTH, subsequent_indent="     ")
        cells = [short(result.traces[name][number]) for name in names]
        lines += beside(cells, column) if column >= 14 else below(names, cells)
    for number, found in result.divergences:
        lines.append("")
        groups = " | ".join(" + ".join(group) for group in found.groups)
        lines += textwrap.wrap(f"step {number}: {found.kind}: {groups}", WIDTH)
    return "\n".join([*lines, ""])


def beside(cells: list[str], column: int) -> list[str]:
    wrapped = [textwrap.wrap(cell, column - 2) for cell in cells]
    height = max(len(cell) for cell in wrapped)
    rows = [[cell[row] if row < len(cell) else "" for cell in wrapped] for row in range(height)]
    return ["  " + "".join(part.ljust(column) for part in row).rstrip() for row in rows]


def below(names: list[str], cells: list[str]) -> list[str]:
    lines = []
    for name, cell in zip(names, cells, strict=True):
        lines += textwrap.wrap(f"     {name}: {cell}", WIDTH, subsequent_indent="       ")
    return lines


WHAT = {
    "VM exit": "L1 sees different VM exits",
    "saved activity": "a VM exit saves different activity states",
    "elsewhere": "the guest or the host sees different things",
    "in a race": "the guest or the host sees different things",
}


def sentence(divergence: Divergence) -> str:
    """What differs and where, in one sentence."""
    _, kind, cause, shows = divergence.signature
    what = {
        "latent": "they differ inside, and nothing shows yet",
        "liveness": "one waits where another goes on",
        "warning": f"only one makes the kernel warn ({shows})",
        "visible": WHAT.get(shows, shows),
    }[kind]
    one, other = (" and ".join(side) for side in cause.sides)
    return f"{cause.what[0].upper()}{cause.what[1:]}: {one} unlike {other}; {what}."


TEST = '''"""Generated by eventdiff: the reproducer beside this file still shows its traces."""

import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expected.json").read_text())


def test_{name}() -> None:
    command = ["eventdiff", "replay", "--json", {options}str(HERE / "reproducer.yaml")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    assert json.loads(run.stdout) == EXPECTED
'''

PYTEST_INI = """\
# The tests below have the same name, which pytest's usual way to import them does not allow.
[pytest]
addopts = --import-mode=importlib
"""


def write_finding(
    folder: Path, automaton: Automaton, finding: Finding, options: Sequence[str]
) -> None:
    """Write `finding` under `folder`. options: what makes `replay` compare the same variants."""
    signature = finding.signature
    name = slug(signature)
    schedule = finding.schedule._replace(name=name, about=sentence(finding.divergence))
    result = replay(automaton, schedule)
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    (own / "live.txt").unlink(missing_ok=True)
    write_whole(own / "expected.json", json.dumps(replay_json(result), indent=1) + "\n")
    write_whole(own / "trace.txt", trace_text(result, signature))
    given = "".join(f"{json.dumps(option)}, " for option in options)
    test = TEST.format(name=name.replace("-", "_"), options=given)
    write_whole(own / "test_reproducer.py", test)
    write_whole(folder / "pytest.ini", PYTEST_INI)
    write_whole(own / "reproducer.yaml", dump(schedule))


def campaign_json(
    schedules: int, seconds: float, findings: Sequence[Finding], verdicts: Verdicts | None = None
) -> dict[str, Any]:
    """What `campaign.json` holds and `fuzz --json` prints."""
    live = verdicts or {}
    return {
        "schedules": schedules,
        "seconds": round(seconds, 3),
        "signatures": [
            {
                "signature": str(finding.signature),
                "kind": finding.divergence.kind,
                "vendor": finding.schedule.vendor,
                "groups": [list(group) for group in finding.divergence.groups],
                "length": len(finding.schedule.steps),
            }
            | ({"live": live[finding.signature].word} if live else {})
            for finding in in_order(findings)
        ],
    }


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: str(finding.signature))


def summary(
    title: str, ran: str, findings: Sequence[Finding], verdicts: Verdicts | None = None
) -> str:
    """`summary.md`. ran: in a few words, what was run to find this."""
    columns = ["vendor", "kind", "what differs", "steps", "reproducer"]
    columns += ["live"] if verdicts else []
    lines = [
        f"# {title}",
        "",
        f"{ran}, {len(findings)} signatures.",
        "",
        f"| {' | '.join(columns)} |",
        "| " + " | ".join("---" for _ in columns) + " |",
    ]
    for finding in in_order(findings):
        name = slug(finding.signature)
        cells = [
            finding.schedule.vendor,
            finding.divergence.kind,
            sentence(finding.divergence),
            str(len(finding.schedule.steps)),
            f"[{name}]({name}/trace.txt)",
            *([str(verdicts[finding.signature])] if verdicts else []),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def write_summary(
    out: Path,
    schedules: int,
    seconds: float,
    findings: Sequence[Finding],
    verdicts: Verdicts | None = None,
) -> None:
    """Write `campaign.json` and `summary.md` of a campaign to `out`."""
    campaign = json.dumps(campaign_json(schedules, seconds, findings, verdicts), indent=1)
    write_whole(out / "campaign.json", campaign + "\n")
    ran = f"{schedules} schedules in {seconds:.0f} s"
    write_whole(out / "summary.md", summary("Campaign", ran, findings, verdicts))


def summary_text(
    ran: str, findings: Sequence[Finding], out: Path, verdicts: Verdicts | None = None
) -> str:
    """The table of `summary`, for a terminal. out: where the reports are."""
    lines = [f"{ran}, {len(findings)} signatures; see {printable(str(out / 'summary.md'))}"]
    for finding in in_order(findings):
        vendor, kind = finding.schedule.vendor, finding.divergence.kind
        steps = len(finding.schedule.steps)
        live = f" [{verdicts[finding.signature]}]" if verdicts else ""
        lines.append(f"  {vendor} {kind:8} {steps:2} steps  {sentence(finding.divergence)}{live}")
    return "\n".join([*lines, ""])
