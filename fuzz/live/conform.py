"""`eventdiff live conform`: do the models and real KVM agree, step by step?"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fuzz.live.quirks import quirk_of
from fuzz.live.sample import sample
from fuzz.memory.automaton import Automaton
from fuzz.report.replay import automaton_of, observation_json, replay
from fuzz.schedule.file import files_in, read_schedule
from fuzz.schedule.schedule import Schedule, printable, races
from fuzz.schedule.seeds import seed_files
from fuzz.schedule.text import dump, schedule_json
from variants.catalogue import choose
from variants.link import Variant
from variants.live.cache import builds
from variants.live.observe import why_broken
from variants.live.runner import Build, run_variants
from variants.machine.step import VENDORS, Vendor

Trace = Sequence[Mapping[str, Any]]

AGREE, DISAGREE, TROUBLE = 0, 1, 2
SAMPLES: Final[Mapping[Vendor, int]] = {"svm": 500, "vmx": 100}
REPORTS: Final = Path("reports")


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


def samples(text: str) -> dict[Vendor, int]:
    """`--samples`: SVM,VMX."""
    parts = text.split(",")
    if len(parts) != len(VENDORS) or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected two numbers, SVM,VMX, not {text!r}")
    return dict(zip(VENDORS, map(int, parts), strict=True))


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add `conform` to the sub-commands of `eventdiff live`."""
    about = "Run schedules on models and real KVM and say where they agree."
    parser = subparsers.add_parser("conform", help=about, description=about)
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="schedules or folders of them, instead of the default set: "
        "seeds, reproducers under reports/, and samples",
    )
    parser.add_argument(
        "--samples",
        type=samples,
        metavar="SVM,VMX",
        help="how many sampled schedules to run (500,100; with FILE 0,0)",
    )
    parser.add_argument(
        "--corpus", type=Path, metavar="DIR", help="sample from this libFuzzer corpus"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="other samples (1)")
    parser.add_argument("--vendor", choices=VENDORS, help="one vendor only")
    parser.add_argument("--variants", default="", metavar="A,B,..", help="(all three)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where setup put the kernels")
    parser.add_argument(
        "--jobs",
        type=int,
        default=(os.cpu_count() or 1) + 1,
        metavar="N",
        help="emulators at a time (one more than cores)",
    )
    parser.add_argument("--json", action="store_true", help="counts by vendor and variant only")


def run(options: argparse.Namespace) -> int:
    """The command: 0 all agree or a listed quirk is why not, 1 disagreements, 2 runs broke off.

    Raises LiveError, ScheduleError, VariantError and OSError.
    """
    paths = options.files or [
        *map(str, seed_files()),
        *([str(REPORTS)] if REPORTS.is_dir() else []),
    ]
    given = [read_schedule(path) for path in files_in(paths)]
    wanted = options.samples or ({} if options.files else SAMPLES)
    variants = choose(options.variants, [])
    kernels = builds(options.cache, [variant.name for variant in variants])
    counts: dict[str, dict[str, dict[str, int]]] = {}
    status = AGREE
    for vendor in [options.vendor] if options.vendor else VENDORS:
        mine = [one for one in given if one.vendor == vendor]
        racing = [one for one in mine if races(one)]
        chosen = sample(vendor, variants, wanted.get(vendor, 0), options.corpus, options.seed)
        todo = [one for one in mine if not races(one)] + list(chosen.schedules)
        if not todo:
            continue
        say(
            f"{vendor}: {len(todo)} schedules, {len(chosen.schedules)} of them sampled "
            f"({chosen.covered} of {chosen.reached} joint states reached)"
            + (f"; {len(racing)} left out: races run on models only" if racing else "")
        )
        tallies, troubles = conform(todo, vendor, variants, kernels, options.jobs)
        for line in troubles:
            say(line)
        counts[vendor] = {name: tally.as_json() for name, tally in tallies.items()}
        if any(tally.broken for tally in tallies.values()):
            status = TROUBLE
        elif any(tally.unexplained for tally in tallies.values()):
            status = max(status, DISAGREE)
        if not options.json:
            print(report_text(vendor, tallies), flush=True)
    if options.json:
        print(json.dumps(counts))
    return status


def say(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)
