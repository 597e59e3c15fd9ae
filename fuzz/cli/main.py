"""The command line. Exit status as diff(1): 0 no difference, 1 differences, 2 trouble."""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fuzz.campaign import campaign
from fuzz.cli import live as live_cli
from fuzz.cli import variants
from fuzz.cli.apart import Ended, apart
from fuzz.cli.explore import AlphabetError, ExplorerError, add_arguments, do_explore
from fuzz.cli.live_replay import built_of, show_live
from fuzz.cli.output import TELLING, complain, escape_unencodable, write
from fuzz.compare.compared import StepError, compared
from fuzz.compare.signature import Finding
from fuzz.compare.watch import HangError, watched
from fuzz.live.confirm import confirm
from fuzz.memory.automaton import Automaton
from fuzz.report.folder import slug, summary_text
from fuzz.report.replay import automaton_of, replay, replay_json
from fuzz.report.trace import trace_text
from fuzz.schedule import codes, text
from fuzz.schedule.file import is_yaml, read_data, read_schedule, schedule_in, write_whole
from fuzz.schedule.schedule import ScheduleError, printable
from fuzz.shrink.minimize import minimize
from variants.catalogue import VariantError, choose, describe, offered
from variants.live.emulator import LiveError
from variants.machine.step import VENDORS, Vendor
from variants.variant import LinkError, Variant

SAME, DIFFERENT, TROUBLE = 0, 1, 2
MAX_SECONDS = 2**31 - 1
"""The most that libFuzzer takes."""

EPILOG = """\
examples:
  eventdiff fuzz --time 60 --out reports/mine
  eventdiff replay corpus/seeds/svm-sipi-in-l2-then-hlt.yaml
  eventdiff replay --variants original --variant my_fix.py case.yaml
  eventdiff minimize big.yaml > small.yaml
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

    fuzz = command("fuzz", "Fuzz, minimise what diverges, write reports.", comparing)
    fuzz.add_argument("--time", type=seconds, default=60, metavar="S", help="seconds (60)")
    fuzz.add_argument(
        "--out", type=Path, default=Path("reports/latest"), metavar="DIR", help="(reports/latest)"
    )
    fuzz.add_argument("--vendor", choices=VENDORS, help="one vendor only")
    fuzz.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="repeat libFuzzer's choices"
    )
    fuzz.add_argument(
        "--mix",
        action="store_true",
        help="also what `explore` keeps apart: races, NMIs, SMIs and interrupts in one schedule",
    )
    fuzz.add_argument("--json", action="store_true", help="print campaign.json when done")
    fuzz.add_argument(
        "--confirm",
        action="store_true",
        help="then run the reproducers on real KVM (see `eventdiff live setup`)",
    )

    add_arguments(command("explore", "Find every divergence there is, to a bound.", comparing))

    show = command("replay", "Show every variant's trace of a schedule.", comparing)
    show.add_argument("files", nargs="+", metavar="FILE", help="schedules, YAML or bytes")
    show.add_argument("--json", action="store_true", help="one object a line")
    show.add_argument(
        "--live", action="store_true", help="beside what real KVM does (see `eventdiff live setup`)"
    )

    shrink = command("minimize", "Print the smallest schedule with the same divergence.", comparing)
    shrink.add_argument("file", metavar="FILE")
    shrink.add_argument("--signature", help="which divergence, if not the first")

    variants.add_arguments(command("variants", "List variants, compare two, start a new one."))

    convert = command("convert", "Convert a schedule from YAML to bytes or back.")
    convert.add_argument("file", metavar="FILE")
    convert.add_argument("output", nargs="?", metavar="OUT", help="(standard output)")

    live_cli.add_parser(commands)
    return top


def seconds(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_SECONDS} seconds, not {text!r}")
    return int(text)


def seed(text: str) -> int:
    if not text.isdecimal() or int(text) > campaign.MAX_SEED:
        what = f"expected a number from 0 to {campaign.MAX_SEED}, not {text!r}"
        raise argparse.ArgumentTypeError(what)
    return int(text)


class Automata(dict[Vendor, Automaton]):
    """An automaton a vendor, made when first asked for."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        self.variants = variants

    def __missing__(self, vendor: Vendor) -> Automaton:
        self[vendor] = automaton_of(vendor, self.variants)
        return self[vendor]


def variant_options(options: argparse.Namespace) -> tuple[str, ...]:
    """The options that choose the same variants again, from any folder."""
    given = ["--variants", options.variants] if options.variants else []
    for path in options.variant:
        given += ["--variant", str(Path(path).resolve())]
    return tuple(given)


def do_fuzz(options: argparse.Namespace) -> int:
    variants = choose(options.variants, options.variant)
    kernels = built_of([variant.name for variant in variants]) if options.confirm else {}
    vendors = (options.vendor,) if options.vendor else VENDORS
    automata = {vendor: Automaton(compared(vendor, variants)) for vendor in vendors}
    given = variant_options(options)
    settings = campaign.Settings(
        vendors, options.time, options.out, given, options.seed, options.mix
    )
    on_terminal = sys.stderr.isatty()

    def announce(finding: Finding) -> None:
        if not options.json:
            clear = "\r\033[K" if on_terminal else ""
            signature = finding.divergence.signature
            folder = printable(str(options.out / slug(signature)))
            print(f"{clear}{signature}\n    {folder}", flush=True)

    def progress(schedules: int, elapsed: float, signatures: int) -> None:
        if on_terminal:
            line = (
                f"{elapsed:3.0f}/{options.time} s, {schedules} schedules, {signatures} signatures"
            )
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    outcome = campaign.run(automata, settings, announce, progress)
    if on_terminal:
        print("\r\033[K", end="", file=sys.stderr)
    verdicts = confirm(outcome, automata, kernels, options.out, TELLING) if options.confirm else {}
    if options.json:
        print((options.out / "campaign.json").read_text(), end="")
    else:
        ran = f"{outcome.schedules} schedules in {outcome.seconds:.0f} s"
        print("\n" + summary_text(ran, outcome.findings, options.out, verdicts), end="")
    return DIFFERENT if outcome.findings else SAME


def do_replay(options: argparse.Namespace) -> int:
    variants = choose(options.variants, options.variant)
    automata = Automata(variants)
    schedules = [read_schedule(path) for path in options.files]
    if options.live:
        names = [variant.name for variant in variants]
        results = [replay(automata[schedule.vendor], schedule) for schedule in schedules]
        return show_live(results, built_of(names), options.json)
    status = SAME
    for number, schedule in enumerate(schedules):
        result = replay(automata[schedule.vendor], schedule)
        if result.divergences:
            status = DIFFERENT
        if options.json:
            print(json.dumps(replay_json(result)))
        else:
            print(("\n" if number else "") + trace_text(result), end="")
    return status


def do_minimize(options: argparse.Namespace) -> int:
    schedule = read_schedule(options.file)
    variants = choose(options.variants, options.variant)
    automaton = automaton_of(schedule.vendor, variants)
    shown = {str(one.signature): one.signature for _, one in automaton.compare(schedule)}
    if not shown:
        complain(f"{options.file}: the variants agree, nothing to minimize")
        return SAME
    wanted = options.signature or next(iter(shown))
    if wanted not in shown:
        raise ScheduleError(f"{options.file}: does not show {wanted!r}, but {'; '.join(shown)}")
    smallest = minimize(automaton, schedule, shown[wanted])
    named = smallest._replace(name=slug(shown[wanted]), about=wanted)
    write(text.dump(named).encode())
    return DIFFERENT


def do_convert(options: argparse.Namespace) -> int:
    data = read_data(options.file)
    schedule = schedule_in(data, options.file)
    from_yaml = is_yaml(data, options.file)
    converted = codes.encode(schedule) if from_yaml else text.dump(schedule).encode()
    if options.output:
        write_whole(Path(options.output), converted)
    else:
        write(converted)
    return SAME


COMMANDS = {
    "fuzz": do_fuzz,
    "explore": do_explore,
    "replay": do_replay,
    "minimize": do_minimize,
    "variants": variants.do_variants,
    "convert": do_convert,
    "live": live_cli.run,
}


ERRORS = (
    *(ScheduleError, VariantError, LinkError, StepError, HangError, AlphabetError, LiveError),
    *(campaign.FuzzerError, ExplorerError),
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
    if options.command not in ("fuzz", "explore", "replay", "minimize", "variants"):
        return []
    checked = getattr(options, "check", None)
    return [*options.variant, *offered(), *([str(checked)] if checked else [])]


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
