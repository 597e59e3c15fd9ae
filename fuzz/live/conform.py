"""Do the models and real KVM agree, step by step?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fuzz.compare.traces import observation_json
from fuzz.live.quirks import quirk_of
from fuzz.memory.automaton import Automaton
from fuzz.report.replay import automaton_of, replay
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import dump, schedule_json
from variants.link import Variant
from variants.live.observe import why_broken
from variants.live.runner import Build, run_variants
from variants.machine.step import Vendor

Trace = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Disagreement:
    """The first step of a schedule in which model and live KVM differ, and in which fields.

    quirk: the name of the emulator's quirk that explains it, or "".
    """

    schedule: Schedule
    step: int
    fields: tuple[str, ...]
    quirk: str
    model: Trace
    live: Trace


@dataclass
class Tally:
    """Agreement of one vendor and variant.

    agree: the steps before each schedule's first disagreement. What follows it starts from
    different states, so it counts as disagreement too. whole: the schedules that agree in all
    steps. broken: those in which the emulator died or hung; only the steps before that count.
    """

    schedules: int = 0
    steps: int = 0
    agree: int = 0
    whole: int = 0
    broken: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)

    @property
    def unexplained(self) -> list[Disagreement]:
        return [one for one in self.disagreements if not one.quirk]

    def as_json(self) -> dict[str, int]:
        return {"steps": self.steps, "agree": self.agree, "schedules": self.schedules}


Tallies = Mapping[str, Tally]
"""By variant."""


def model_traces(automaton: Automaton, schedule: Schedule) -> dict[str, Trace]:
    """Each variant's observations on the model, as the live runner has them."""
    return {
        name: [observation_json(number, one) for number, one in enumerate(trace)]
        for name, trace in replay(automaton, schedule).traces.items()
    }


def count(tally: Tally, schedule: Schedule, model: Trace, live: Trace) -> None:
    """Compare two traces of `schedule` and add the result to `tally`."""
    tally.schedules += 1
    if why_broken(live[-1]["warn"]):
        tally.broken += 1
        live = live[:-1]
    tally.steps += len(live)
    for number, (expected, seen) in enumerate(zip(model, live, strict=False)):
        differ = tuple(name for name, value in expected.items() if seen[name] != value)
        if differ:
            quirk = quirk_of(schedule, number, model, live)
            found = Disagreement(schedule, number, differ, quirk, model, live)
            tally.disagreements.append(found)
            return
        tally.agree += 1
    tally.whole += len(live) == len(model)


def conform(
    schedules: Sequence[Schedule],
    vendor: Vendor,
    variants: Sequence[Variant],
    kernels: Mapping[str, Build],
    parallel: int,
) -> tuple[dict[str, Tally], list[str]]:
    """Run `schedules`, all of one vendor and without races, on models and live.

    kernels: the builds by variant name. parallel: emulators at a time.
    Returns the tallies, and what went wrong in the live runs, a line each.
    Raises LiveError when nothing can be run.
    """
    automaton = automaton_of(vendor, variants)
    plain = [schedule_json(schedule) for schedule in schedules]
    live, reports = run_variants(plain, dict(kernels), vendor, parallel)
    tallies = {variant.name: Tally() for variant in variants}
    for number, schedule in enumerate(schedules):
        model = model_traces(automaton, schedule)
        for name, tally in tallies.items():
            count(tally, schedule, model[name], live[name][number])
    troubles = [
        f"{vendor} {name}: {line}" for name, report in reports.items() for line in report.troubles
    ]
    return tallies, troubles


def report_text(vendor: Vendor, tallies: Tallies) -> str:
    """Counts by variant, then every disagreement once, with the variants that show it."""
    lines = []
    for name, tally in tallies.items():
        line = f"{vendor} {name}: {tally.agree} of {tally.steps} steps agree"
        line += f", {tally.whole} of {tally.schedules} schedules"
        quirks = Counter(one.quirk for one in tally.disagreements if one.quirk)
        line += "".join(f"; quirk {quirk}: {times}" for quirk, times in sorted(quirks.items()))
        line += f"; broke off: {tally.broken}" if tally.broken else ""
        if tally.unexplained:
            line += f"; unexplained: {len(tally.unexplained)}"
        lines.append(line)
    shown: dict[str, list[str]] = {}
    for name, tally in tallies.items():
        for one in tally.disagreements:
            shown.setdefault(disagreement_text(one), []).append(name)
    for text, names in shown.items():
        lines += ["", f"{vendor} {', '.join(names)}: {text}"]
    return "\n".join(lines) + "\n"


def disagreement_text(one: Disagreement) -> str:
    """A disagreement with both traces up to the step that shows it."""
    why = f"quirk {one.quirk}" if one.quirk else "DISAGREE"
    lines = [f"{one.schedule.name}: {why}: step {one.step}: {', '.join(one.fields)}"]
    steps = dump(one.schedule).partition("steps:\n")[2].splitlines()
    for number in range(one.step + 1):
        lines.append(f"  {number} {steps[number][2:]}")
        model, live = one.model[number], brief(one.live, number)
        if number < one.step:
            lines.append(f"      {live}")
        else:
            lines += [f"      model {brief([model], 0)}", f"      live  {live}"]
    return "\n".join(lines)


def brief(trace: Trace, number: int) -> str:
    """An observation without the fields that say nothing."""
    if number >= len(trace):
        return "nothing"
    skip = ("step", "on", "outcome")
    seen = {k: v for k, v in trace[number].items() if k not in skip and v not in (None, False, [])}
    return " ".join([str(trace[number]["outcome"]), *(f"{k}={v}" for k, v in seen.items())])
