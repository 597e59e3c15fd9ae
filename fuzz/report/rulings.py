"""What the judge has ruled, as JSON and as text."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fuzz.compare.traces import Trace, Traces
from fuzz.explore.breaches import Breach
from fuzz.judge.monitor import Ruling, judge
from fuzz.judge.rules import BY_ID, ORDER
from fuzz.report.trace import WIDTH, short
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import schedule_json, step_yaml
from variants.machine.step import Vendor


class Verdict(NamedTuple):
    """rulings: with their steps. kvm: what KVM did that no manual speaks of, likewise."""

    rulings: tuple[tuple[int, Ruling], ...]
    kvm: tuple[tuple[int, str], ...]


def verdicts(schedule: Schedule, traces: Traces) -> dict[str, Verdict]:
    """By variant, the verdict on its trace."""
    return {
        name: Verdict(tuple(judge(schedule, trace)), tuple(kvm_notes(trace)))
        for name, trace in traces.items()
    }


def kvm_notes(trace: Trace) -> list[tuple[int, str]]:
    """Kernel WARNs, spinning and failures: wrong in KVM, but against no manual."""
    notes = []
    for number, shown in enumerate(trace):
        if shown.outcome == "error":
            notes.append((number, f"KVM gives up: {shown.warn or 'KVM_RUN or an ioctl fails'}"))
        elif shown.warn:
            notes.append((number, f"WARN in {shown.warn}"))
        if shown.outcome == "busy":
            notes.append((number, "KVM spins, the guest does not run"))
    return notes


def broken(found: Mapping[str, Verdict]) -> bool:
    """Does any variant break a rule?"""
    return any(not ruling.open for one in found.values() for _, ruling in one.rulings)


def verdicts_json(schedule: Schedule, found: Mapping[str, Verdict]) -> dict[str, Any]:
    """What `eventdiff judge --json` prints."""
    return {
        "schedule": schedule.name,
        "vendor": schedule.vendor,
        "rulings": {
            name: [ruling_json(step, ruling) for step, ruling in one.rulings]
            for name, one in found.items()
        },
        "kvm": {
            name: [{"step": step, "says": says} for step, says in one.kvm]
            for name, one in found.items()
        },
    }


def ruling_json(step: int, ruling: Ruling) -> dict[str, Any]:
    rule = BY_ID[ruling.rule]
    return {
        "step": step,
        "rule": rule.id,
        "ruling": "open" if ruling.open else "breaks",
        "says": rule.says,
        "citation": rule.citation,
        "where": ruling.where,
    }


def verdicts_text(schedule: Schedule, traces: Traces, found: Mapping[str, Verdict]) -> str:
    """A schedule's verdicts for a person to read, at most `WIDTH` columns."""
    lines = textwrap.wrap(schedule.name, WIDTH)
    for step, rule_id, is_open in told(found):
        names = [
            name
            for name, one in found.items()
            if any((step, rule_id, is_open) == (n, r.rule, r.open) for n, r in one.rulings)
        ]
        rule = BY_ID[rule_id]
        what = "open, the host had set the state" if is_open else "breaks"
        shown = short(traces[names[0]][step])
        lines += wrapped(f"step {step}. {step_yaml(schedule.steps[step])}: {shown}", "  ")
        lines += wrapped(f"{' + '.join(names)}: {what} {rule.id}: {rule.says}", "    ")
        lines += wrapped(f"[{rule.citation}]", "    ")
    for name, one in found.items():
        lines += [
            line for step, says in one.kvm for line in wrapped(f"{name}, step {step}: {says}")
        ]
    if len(lines) == 1:
        lines.append("  no rule is broken")
    return "\n".join([*lines, ""])


def told(found: Mapping[str, Verdict]) -> Sequence[tuple[int, str, bool]]:
    """Each ruling once, whoever it is about, by steps."""
    every = [(n, one.rule, one.open) for verdict in found.values() for n, one in verdict.rulings]
    return sorted(set(every))


def breach_json(breach: Breach, schedule: Schedule) -> dict[str, Any]:
    """A class of breaches, as explorations and campaigns print it."""
    rule = BY_ID[breach.rule]
    return {
        **breach._asdict(),
        "signature": str(breach),
        "says": rule.says,
        "citation": rule.citation,
        "length": len(schedule.steps),
        "schedule": schedule_json(schedule),
    }


def by_rule(found: Mapping[Breach, Schedule]) -> dict[tuple[Vendor, str], dict[str, Schedule]]:
    """For each vendor and rule, in the rules' order, who breaks it and a shortest schedule."""

    def order(pair: tuple[Breach, Schedule]) -> tuple[str, int, int]:
        breach, schedule = pair
        return breach.vendor, ORDER[breach.rule], len(schedule.steps)

    ordered: dict[tuple[Vendor, str], dict[str, Schedule]] = {}
    for breach, schedule in sorted(found.items(), key=order):
        ordered.setdefault((breach.vendor, breach.rule), {}).setdefault(breach.variant, schedule)
    return ordered


def breaches_table(found: Mapping[Breach, Schedule]) -> list[str]:
    """What `summary.md` says of the manuals: who breaks which rule, in how many steps."""
    if not found:
        return []
    names = list(dict.fromkeys(breach.variant for breach in sorted(found)))
    columns = ["vendor", "rule of the manuals broken", *names]
    lines = ["## Judged by the manuals", "", f"| {' | '.join(columns)} |"]
    lines.append("| " + " | ".join("---" for _ in columns) + " |")
    for (vendor, rule), who in by_rule(found).items():
        steps = [str(len(who[name].steps)) if name in who else "-" for name in names]
        lines.append(f"| {vendor} | {rule}: {BY_ID[rule].says} | {' | '.join(steps)} |")
    return [*lines, "", "The numbers are the steps to the breach; campaign.json has the schedules."]


def wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
