"""`eventdiff judge`: which rules of the manuals a variant breaks, on models or on real KVM."""

import argparse
import json
import signal
from collections.abc import Iterable

from fuzz.cli.live_replay import built_of, with_kernels
from fuzz.cli.output import TELLING
from fuzz.cli.status import DIFFERENT, SAME, TROUBLE
from fuzz.compare.compared import compared
from fuzz.compare.traces import Traces, trace_of
from fuzz.live.run import breaks, run_live
from fuzz.report.rulings import broken, verdicts, verdicts_json, verdicts_text
from fuzz.schedule.file import files_in, read_schedule
from fuzz.schedule.schedule import Schedule
from variants.catalogue import choose
from variants.machine.step import VENDORS

EPILOG = """\
examples:
  eventdiff judge corpus/seeds/svm-sipi-in-l2-then-hlt.yaml
  eventdiff judge --variants original,mine --variant mine.py corpus/seeds
  eventdiff judge --live --variants linux-6.12 corpus/seeds

exit status: 0 no rule is broken, 1 some are, 2 trouble

docs/rules.md lists the rules, and what the manuals leave open.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `judge`, besides those that choose variants."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="schedules, or folders of them (*.yaml)"
    )
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument(
        "--live", action="store_true", help="what real KVM does (see `eventdiff live setup`)"
    )


def do_judge(options: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    schedules = [read_schedule(path) for path in files_in(options.files)]
    traced = live_traces if options.live else model_traces
    status, printed = SAME, False
    for schedule, traces in zip(schedules, traced(options, schedules), strict=True):
        found = verdicts(schedule, traces)
        wrong = DIFFERENT if broken(found) else SAME
        status = max(status, TROUBLE if options.live and breaks(traces) else wrong)
        if options.json:
            print(json.dumps(verdicts_json(schedule, found)), flush=True)
            continue
        text = verdicts_text(schedule, traces, found)
        if options.live and not traces:
            text = f"{schedule.name}: model only: a race that these builds cannot have\n"
        print(("\n" if printed else "") + text, end="", flush=True)
        printed = True
    return status


def model_traces(options: argparse.Namespace, schedules: Iterable[Schedule]) -> Iterable[Traces]:
    """What the variants' models show, a schedule after the other."""
    variants = choose(options.variants, options.variant, least=1)
    subjects = {vendor: compared(vendor, variants) for vendor in VENDORS}
    for schedule in schedules:
        subject = subjects[schedule.vendor]
        pairs = zip(subject.names, subject.machines, strict=True)
        yield {name: trace_of(machine, schedule) for name, machine in pairs}


def live_traces(options: argparse.Namespace, schedules: list[Schedule]) -> Iterable[Traces]:
    """What real builds of the variants show. Raises LiveError."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names, kernels = with_kernels(options.variants)
    modelled = choose(names, options.variant, least=1) if names or not kernels else ()
    builds = built_of([*(variant.name for variant in modelled), *kernels])
    return run_live(schedules, builds, TELLING)
