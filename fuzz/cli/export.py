"""`eventdiff export`: a schedule as a C program that runs without eventdiff."""

import argparse
import signal
from pathlib import Path

from fuzz.cli.output import TELLING, write
from fuzz.cli.status import SAME
from fuzz.compare.traces import Trace
from fuzz.live.run import breaks, run_live
from fuzz.report.replay import automaton_of, replay
from fuzz.report.reproducer import reproducer
from fuzz.schedule.file import read_schedule, write_whole
from fuzz.schedule.schedule import Schedule, ScheduleError, races
from variants.catalogue import with_own
from variants.live.cache import builds
from variants.live.emulator import LiveError
from variants.live.entries import canonical
from variants.live.semantic import BASE

EPILOG = """\
examples:
  eventdiff export --c corpus/seeds/svm-sipi-in-l2-then-hlt.yaml > reproducer.c
  eventdiff export --c case.yaml --expect paolo -o reproducer.c
  eventdiff export --c case.yaml --expect linux-6.18 -o reproducer.c
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `export`."""
    parser.epilog = EPILOG
    parser.add_argument("file", metavar="FILE", help="a schedule, YAML or bytes")
    parser.add_argument(
        "--c", action="store_true", required=True, help="as a C program for a host's KVM"
    )
    parser.add_argument(
        "--expect",
        default=BASE,
        metavar="VARIANT",
        help="what it is to do there as well (%(default)s): a model, else a live variant, "
        "which runs it now",
    )
    parser.add_argument(
        "--variant", action="append", default=[], metavar="FILE", help="add a variant of your own"
    )
    parser.add_argument("-o", "--output", metavar="OUT.c", help="(standard output)")


def do_export(options: argparse.Namespace) -> int:
    schedule = read_schedule(options.file)
    if races(schedule):
        raise ScheduleError(f"{options.file}: a race (`at`): only models run it")
    expected, trace = expectation(schedule, options.expect, options.variant)
    program = reproducer(schedule, expected, trace)
    if options.output:
        write_whole(Path(options.output), program)
    else:
        write(program.encode())
    return SAME


def expectation(schedule: Schedule, name: str, files: list[str]) -> tuple[str, Trace]:
    """Whose trace is expected, in words, and that trace.

    Raises VariantError, and LiveError if it is no model and cannot be run live.
    """
    name, models = canonical(name), with_own(files)
    if name in models:
        automaton = automaton_of(schedule.vendor, [models[name]])
        return f"the model of `{name}`", tuple(replay(automaton, schedule).traces[name])
    try:
        found = builds(None, [name])
    except LiveError as error:
        raise LiveError(f"no model {name!r}, only {', '.join(models)}; {error}") from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    (traces,) = run_live([schedule], found, TELLING)
    if broken := breaks(traces):
        raise LiveError(f"{schedule.name}: {broken[0]}: that is nothing to expect")
    return f"the kernel `{name}`, run live,", traces[name]
