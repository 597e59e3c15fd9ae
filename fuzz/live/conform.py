"""Do the models and real KVM agree, step by step?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fuzz.compare.traces import Trace, Traces, differing, first_difference, observation_json
from fuzz.live.quirks import quirk_of
from fuzz.live.run import Telling, known, run_live, unlike
from fuzz.report.replay import automaton_of, replay
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import step_yaml
from variants.live.bochs import Version, bochs_of
from variants.live.runner import Build
from variants.machine.observation import Observation
from variants.machine.step import Vendor
from variants.variant import Variant


@dataclass(frozen=True)
class Disagreement:
    """The first step of a schedule in which model and live KVM differ.

    quirk: the name of the emulator's quirk that explains it, or "".
    """

    schedule: Schedule
    step: int
    quirk: str
    model: Trace
    live: Trace

    @property
    def fields(self) -> list[str]:
        """Those in which they differ."""
        return differing(self.model[self.step], self.live[self.step])


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


def count(
    tally: Tally, schedule: Schedule, model: Trace, live: Trace, bochs: Version | None
) -> None:
    """Compare two traces of `schedule` and add the result to `tally`; bochs: as in `quirk_of`."""
    tally.schedules += 1
    seen = known(live)
    tally.broken += seen != live
    tally.steps += len(seen)
    at = first_difference(model, seen)
    tally.agree += len(seen) if at is None else at
    tally.whole += at is None and len(seen) == len(model)
    if at is not None:
        quirk = quirk_of(schedule, at, model, seen, bochs)
        tally.disagreements.append(Disagreement(schedule, at, quirk, model, seen))


def conform(
    schedules: Sequence[Schedule],
    vendor: Vendor,
    variants: Sequence[Variant],
    kernels: Mapping[str, Build],
    telling: Telling,
    parallel: int,
) -> dict[str, Tally]:
    """Run `schedules`, all of one vendor, on models and live; by variant. Races must be such as the
    builds can have (`why_not`).

    kernels: the builds by variant name. parallel: emulators at a time. Raises LiveError when
    nothing can be run.
    """
    automaton = automaton_of(vendor, variants)
    tallies = {variant.name: Tally() for variant in variants}
    models = [replay(automaton, schedule).traces for schedule in schedules]

    def parts(number: int, live: Traces) -> bool:
        return unlike(models[number], live)

    lives = run_live(schedules, kernels, telling, parallel, parts)
    bochs = bochs_of(kernels.values())
    for schedule, model, live in zip(schedules, models, lives, strict=True):
        for name, tally in tallies.items():
            count(tally, schedule, model[name], live[name], bochs)
    return tallies


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
    for number, step in enumerate(one.schedule.steps[: one.step + 1]):
        lines.append(f"  {number} {step_yaml(step)}")
        live = brief(one.live[number])
        if number < one.step:
            lines.append(f"      {live}")
        else:
            lines += [f"      model {brief(one.model[number])}", f"      live  {live}"]
    return "\n".join(lines)


def brief(observation: Observation) -> str:
    """An observation without the fields that say nothing."""
    told = observation_json(0, observation).items()
    skip = ("step", "on", "outcome")
    seen = [f"{k}={v}" for k, v in told if k not in skip and v not in (None, False, [])]
    return " ".join([observation.outcome, *seen])
