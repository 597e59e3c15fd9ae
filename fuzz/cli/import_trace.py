"""`eventdiff import-trace`: a recorded trace of KVM as seed schedules."""

import argparse
from collections import Counter
from pathlib import Path

from fuzz.cli.output import complain
from fuzz.cli.status import SAME
from fuzz.schedule.file import write_whole
from fuzz.schedule.schedule import printable
from fuzz.schedule.text import dump
from fuzz.trace.read import TraceError, read_trace
from variants.machine.step import VENDORS

EPILOG = """\
examples:
  trace-cmd record -e kvm -P PID && trace-cmd report > boot.txt
  eventdiff import-trace boot.txt --out traces
  eventdiff fuzz --corpus traces
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `import-trace`."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="ftrace's `trace`, or what `trace-cmd report` says"
    )
    parser.add_argument("--vendor", choices=VENDORS, help="(what its exit reasons tell)")
    parser.add_argument(
        "--out", type=Path, default=Path("reports/traces"), metavar="DIR", help="(%(default)s)"
    )


def do_import(options: argparse.Namespace) -> int:
    """Write the schedules in a trace; the exit status."""
    path: Path = options.file
    try:
        with path.open(errors="replace") as lines:
            traced = read_trace(lines, printable(path.stem), options.vendor)
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from None
    options.out.mkdir(parents=True, exist_ok=True)
    for schedule in traced.schedules:
        file = options.out / f"{schedule.name}.yaml"
        write_whole(file, dump(schedule))
        print(printable(str(file)))
    if traced.left:
        complain(f"{path}: left out: {told(traced.left)}")
    return SAME


def told(left: Counter[str]) -> str:
    """How often each was left out, the most frequent first."""
    return ", ".join(f"{number} {what}" for what, number in left.most_common())
