"""The command line. Exit status as diff(1): 0 no difference, 1 differences, 2 trouble."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from fuzz.campaign.campaign import FuzzerError
from fuzz.cli import (
    compare,
    explore,
    export,
    fuzz,
    import_trace,
    judge,
    live,
    reports,
    review,
    schedules,
    variants,
    view,
)
from fuzz.cli.apart import Ended, apart
from fuzz.cli.cluster import ClusterError
from fuzz.cli.output import complain, escape_unencodable
from fuzz.cli.pool import ExplorerError
from fuzz.cli.status import TROUBLE
from fuzz.compare.compared import StepError
from fuzz.compare.watch import HangError, watched
from fuzz.findings.known import KnownError
from fuzz.page.read import FolderError
from fuzz.review.journal import OtherBuilds
from fuzz.schedule.schedule import ScheduleError
from fuzz.trace.read import TraceError
from variants.catalogue import VariantError, describe, offered
from variants.live.emulator import LiveError
from variants.variant import LinkError

EPILOG = """\
examples:
  eventdiff fuzz --time 60 --out reports/mine
  eventdiff replay corpus/seeds/svm-sipi-in-l2-then-hlt.yaml
  eventdiff replay --variants original --variant my_fix.py case.yaml
  eventdiff show reports/latest 1
  eventdiff minimize big.yaml > small.yaml
  eventdiff review mine.patch --on linux-6.12
  eventdiff convert case.yaml case.bin

exit status: 0 the variants agree, 1 they differ, 2 trouble

With PYTHONDEVMODE=1 in the environment an unexpected error also prints its traceback.
"""


class Parser(argparse.ArgumentParser):
    """Argument errors in one line."""

    def error(self, message: str) -> NoReturn:
        complain(message, self.prog)
        sys.exit(TROUBLE)


def parser() -> Parser:
    formatter = argparse.RawDescriptionHelpFormatter
    top = Parser(
        prog="eventdiff",
        description="Find where variants of KVM's INIT/SIPI handling behave differently.",
        epilog=EPILOG,
        formatter_class=formatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    comparing = Parser(add_help=False)
    comparing.add_argument(
        "--variants", default="", metavar="A,B,..", help="what to compare, the first is the base"
    )
    comparing.add_argument(
        "--variant", action="append", default=[], metavar="FILE", help="add a variant of your own"
    )

    def command(name: str, about: str, *parents: Parser) -> Parser:
        return commands.add_parser(name, help=about, description=about, parents=parents)

    fuzz.add_arguments(command("fuzz", "Fuzz, minimise what diverges, write reports.", comparing))
    explore.add_arguments(command("explore", "Find every divergence there is.", comparing))
    schedules.add_replay(command("replay", "Show every variant's trace of a schedule.", comparing))
    about = "Print the smallest schedule with the same divergence."
    schedules.add_minimize(command("minimize", about, comparing))
    about = "Say which rules of the manuals a schedule shows the variants break."
    judge.add_arguments(command("judge", about, comparing))
    variants.add_arguments(command("variants", "List variants, compare two, start a new one."))
    schedules.add_convert(command("convert", "Convert a schedule from YAML to bytes or back."))
    about = "Make seed schedules of a recorded trace of KVM."
    import_trace.add_arguments(command("import-trace", about))
    about = "Write a schedule as a C program that tests a host's KVM."
    export.add_arguments(command("export", about))
    about = "Show what a campaign or an exploration found, or one finding whole."
    reports.add_show(command("show", about))
    reports.add_report(command("report", "Write the page of a campaign or an exploration again."))
    about = "Tell how a campaign stands that runs elsewhere, or has ended."
    view.add_arguments(command("status", about))
    about = "Tell what two campaigns or explorations found differently."
    compare.add_arguments(command("compare", about))
    review.add_parser(commands)
    live.add_parser(commands)
    return top


COMMANDS = {
    "fuzz": fuzz.do_fuzz,
    "explore": explore.do_explore,
    "replay": schedules.do_replay,
    "minimize": schedules.do_minimize,
    "judge": judge.do_judge,
    "variants": variants.do_variants,
    "convert": schedules.do_convert,
    "import-trace": import_trace.do_import,
    "export": export.do_export,
    "compare": compare.do_compare,
    "status": view.do_status,
    "show": reports.do_show,
    "report": reports.do_report,
    "review": review.do_review,
    "live": live.run,
}


ERRORS = (
    *(ScheduleError, VariantError, LinkError, StepError, HangError, LiveError, FuzzerError),
    *(explore.AlphabetError, ExplorerError, OtherBuilds, FolderError, KnownError, TraceError),
    ClusterError,
)
"""What is said in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Without `arguments` it is the one this process was
    started for, and one that runs code of the user's runs in a process of its own."""
    escape_unencodable()
    options = parser().parse_args(arguments)
    if arguments is not None or not (code := code_of_users(options)):
        return run(options)
    try:
        return apart(lambda: run(options))
    except Ended as how:
        complain(f"{', '.join(code)}: {how}")
        return TROUBLE


def code_of_users(options: argparse.Namespace) -> list[str]:
    """Where the variants come from that the command may run, besides the project's."""
    given = getattr(options, "variant", None)
    if given is None:
        return []
    # Those that a certificate, or the campaign to go on with, has been made with.
    checked = getattr(options, "check", None)
    resumed = getattr(options, "resume", False) and (options.out or fuzz.LATEST)
    return [*given, *offered(), *(str(one) for one in (checked, resumed) if one)]


def run(options: argparse.Namespace) -> int:
    """Run one command; the exit status. What goes wrong is told in one line."""
    try:
        with watched():
            status = COMMANDS[options.command](options)
        flush()
        return status
    except ERRORS as error:
        complain(error)
    except BrokenPipeError:
        pass  # The reader of our output left; say nothing more.
    except OSError as error:
        what = error.strerror or " ".join(str(error).split())
        complain(": ".join(str(word) for word in (error.filename, what) if word))
    except KeyboardInterrupt:
        complain("interrupted")
    except BaseException as error:
        # Also what a variant may raise where nobody expects it: no crash is a verdict.
        at = traceback.extract_tb(error.__traceback__)[-1]
        complain(f"{at.filename}:{at.lineno}: {describe(error)}")
        if sys.flags.dev_mode:
            traceback.print_exception(error)
    flush_or_drop()
    return TROUBLE


def flush() -> None:
    """Write what is printed. Raises OSError."""
    # Python has no stream where the caller has closed it.
    if sys.stdout is not None:
        sys.stdout.flush()


def flush_or_drop() -> None:
    """Write what is printed, or drop it if it cannot be written: Python would try again at exit."""
    try:
        flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
