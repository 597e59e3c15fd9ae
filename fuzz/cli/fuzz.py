"""`eventdiff fuzz`: a campaign's options and output."""

import argparse
from pathlib import Path
from typing import Final

from fuzz.campaign import campaign
from fuzz.cli.live_replay import built_of
from fuzz.cli.output import TELLING, show_line
from fuzz.cli.reports import finish
from fuzz.cli.status import DIFFERENT, SAME
from fuzz.cli.variants import complain_of_races
from fuzz.compare.compared import compared
from fuzz.compare.signature import Form
from fuzz.live.confirm import confirm
from fuzz.memory.automaton import Automaton
from fuzz.page.page import PAGE
from fuzz.report.folder import slug
from fuzz.schedule.schedule import printable
from variants.catalogue import choose
from variants.machine.step import VENDORS

EXAMPLES: Final = """\
examples:
  eventdiff fuzz --time 600 --vendor svm --out reports/mine
  eventdiff fuzz --time 10 --variants original --variant mine.py --out reports/mine

Each signature has a folder in --out: reproducer.yaml, trace.txt, a test. index.html has them all,
by cause and by who is right.
"""
MAX_SECONDS: Final = 2**31 - 1
"""The most that libFuzzer takes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eventdiff fuzz`, besides those that choose variants."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--time", type=seconds, default=60, metavar="S", help="seconds (60)")
    parser.add_argument(
        "--out", type=Path, default=Path("reports/latest"), metavar="DIR", help="(reports/latest)"
    )
    parser.add_argument("--vendor", choices=VENDORS, help="one vendor only")
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="repeat libFuzzer's choices"
    )
    parser.add_argument(
        "--mix",
        action="store_true",
        help="also what `explore` keeps apart: races, NMIs, SMIs and interrupts in one schedule",
    )
    parser.add_argument("--json", action="store_true", help="print campaign.json when done")
    parser.add_argument("--all", action="store_true", help="list all findings when done")
    parser.add_argument(
        "--confirm",
        action="store_true",
        help="then run the reproducers on real KVM (see `eventdiff live setup`)",
    )


def seconds(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_SECONDS} seconds, not {text!r}")
    return int(text)


def seed(text: str) -> int:
    if not text.isdecimal() or int(text) > campaign.MAX_SEED:
        what = f"expected a number from 0 to {campaign.MAX_SEED}, not {text!r}"
        raise argparse.ArgumentTypeError(what)
    return int(text)


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
        vendors, options.time, options.out, variants, given, options.seed, options.mix
    )

    def announce(form: Form) -> None:
        if not options.json:
            show_line()
            signature = form.signature
            folder = printable(str(options.out / slug(signature)))
            print(f"{signature}\n    {folder}", flush=True)

    def progress(schedules: int, elapsed: float, signatures: int) -> None:
        ran = f"{schedules} schedules, {signatures} signatures"
        show_line(f"{elapsed:3.0f}/{options.time} s, {ran}")

    (options.out / PAGE).unlink(missing_ok=True)
    outcome = campaign.run(automata, settings, announce, progress)
    show_line()
    if options.confirm:
        confirm(outcome, automata, kernels, options.out, given, TELLING)
    said = finish(options.out, options.all)
    if options.json:
        print((options.out / "campaign.json").read_text(), end="")
    else:
        print("\n" + said, end="")
    complain_of_races(variants, outcome.forms)
    return DIFFERENT if outcome.forms else SAME
