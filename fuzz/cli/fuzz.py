"""`eventdiff fuzz`: a campaign's options and output."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fuzz.campaign.campaign import FuzzerError, Recruit, Settings, run
from fuzz.campaign.folder import holds_campaign, keep_aside
from fuzz.campaign.inputs import given_in
from fuzz.campaign.local import hire
from fuzz.campaign.processes import MAX_SEED
from fuzz.cli import cluster
from fuzz.cli.ends import SECONDS, certified, duration, ends_of
from fuzz.cli.fuzz_live import do_fuzz_live, names_of
from fuzz.cli.live_replay import built_of
from fuzz.cli.output import TELLING, complain
from fuzz.cli.reports import finish
from fuzz.cli.status import DIFFERENT, SAME
from fuzz.cli.variants import complain_of_races
from fuzz.cli.view import watching
from fuzz.compare.compared import compared
from fuzz.compare.signature import Form
from fuzz.findings.known import read_known
from fuzz.live.confirm import confirm
from fuzz.memory.automaton import Automaton
from fuzz.page.read import CAMPAIGN, FolderError, options_in, told_in
from fuzz.report.folder import slug
from fuzz.report.junit import write_junit
from fuzz.schedule.schedule import Schedule, printable
from variants.catalogue import choose
from variants.machine.step import VENDORS, Vendor
from variants.variant import Variant

if TYPE_CHECKING:
    from distributed import Client

EXAMPLES: Final = """\
examples:
  eventdiff fuzz --time 10m --vendor svm --out reports/mine
  eventdiff fuzz --out reports/mine --resume --until-quiet 6h
  eventdiff fuzz --corpus traces --corpus reports/other
  eventdiff fuzz --time 10 --variants original --variant mine.py --out reports/other
  eventdiff fuzz --live --variants linux-6.12,mine --time 1h --out reports/live

Each signature has a folder in --out: reproducer.yaml, trace.txt, a test. index.html has them all,
by cause and by who is right. Ctrl-C ends a campaign with all its reports; --resume goes on, also
with one that was killed. Without --out the campaign of before is kept aside.

With --live kernels run the schedules, in emulators that stay up, and the basic blocks of KVM that
these reach are what is new to the fuzzer. It begins with nothing, or what --corpus has; there are
no races, and no models. What differs is minimised on real KVM and seen again in three fresh VMs.
"""
LATEST: Final = Path("reports/latest")
MAX_MB: Final = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eventdiff fuzz`, besides those that choose variants."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    what = f"how long: seconds, or as 10m, 6h, 7d ({SECONDS}, if nothing else ends it)"
    parser.add_argument("--time", type=duration, metavar="T", help=what)
    parser.add_argument(
        "--until-quiet", type=duration, metavar="T", help="until nothing was new for so long"
    )
    parser.add_argument(
        "--until-complete",
        type=Path,
        metavar="CERTIFICATE",
        help="until all signatures are found that `explore` found",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="on real KVM: --variants are live ones, as linux-6.12,mine, that are instrumented "
        "(eventdiff live setup --instrument NAME)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"({LATEST})")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true", help="go on with the campaign in --out")
    there.add_argument("--fresh", action="store_true", help="keep it aside and begin anew")
    parser.add_argument(
        "--corpus",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="begin with what is there too: schedules, a libFuzzer corpus, another campaign",
    )
    parser.add_argument("--vendor", choices=VENDORS, help="one vendor only")
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="repeat libFuzzer's choices"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=cluster.workers,
        metavar="N",
        help="fuzzer processes (one a core, with --live an emulator a core; at least one a vendor)",
    )
    cluster.add_arguments(where)
    parser.add_argument(
        "--mix",
        action="store_true",
        help="also what `explore` keeps apart: races, NMIs, SMIs and interrupts in one schedule",
    )
    parser.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help="signatures that make no difference to the exit status, as in corpus/known.yaml",
    )
    parser.add_argument(
        "--junit", type=Path, metavar="FILE", help="write JUnit XML: what is not known has failed"
    )
    parser.add_argument(
        "--max-corpus-mb",
        type=megabytes,
        default=100,
        metavar="N",
        help="what the inputs kept for a vendor may take (100)",
    )
    parser.add_argument("--json", action="store_true", help="print campaign.json when done")
    parser.add_argument("--all", action="store_true", help="list all findings when done")
    parser.add_argument(
        "--confirm",
        action="store_true",
        help="then run the reproducers on real KVM (see `eventdiff live setup`)",
    )


def megabytes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_MB:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_MB} MB, not {text!r}")
    return int(text)


def seed(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_SEED:
        what = f"expected a number from 0 to {MAX_SEED}, not {text!r}"
        raise argparse.ArgumentTypeError(what)
    return int(text)


def variant_options(options: argparse.Namespace) -> tuple[str, ...]:
    """The options that choose the same variants again, from any folder."""
    given = ["--variants", options.variants] if options.variants else []
    for path in options.variant:
        given += ["--variant", str(Path(path).resolve())]
    return tuple(given)


def resumed(options: argparse.Namespace, out: Path) -> argparse.Namespace:
    """`options` with the choices of the campaign in `out`. Raises FolderError if others are
    given."""
    _, told = told_in(out)
    words = options_in(told)
    given = list(zip(words[::2], words[1::2], strict=True))
    vendors = told.get("vendors", VENDORS)
    kept = {
        "variants": "".join(value for name, value in given if name == "--variants"),
        "variant": [value for name, value in given if name == "--variant"],
        "vendor": vendors[0] if len(vendors) == 1 else None,
        "mix": told.get("mix", False),
        "live": told.get("live", False),
    }
    asked = {**vars(options), "variant": [str(Path(path).resolve()) for path in options.variant]}
    for name, value in kept.items():
        if asked[name] and asked[name] != value:
            what = f"--{name} is not what the campaign there has"
            raise FolderError(f"{out}: {what}: leave it out, or begin anew with --fresh")
    return argparse.Namespace(**{**vars(options), **kept})


def given_by(place: Path, vendors: Sequence[Vendor]) -> Sequence[Schedule]:
    """The schedules in `place`. Raises FolderError, and OSError."""
    schedules, wrong = given_in(place)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
        complain(f"left out: {wrong[0]}{more}")
    if not any(one.vendor in vendors for one in schedules):
        raise FolderError(f"{place}: no schedules of {', '.join(vendors)}")
    return schedules


def recruiting(client: "Client | None", workers: int | None) -> Recruit:
    """How to get a crew: processes here, or a cluster."""
    if client is None:
        return partial(hire, workers=workers)
    from fuzz.campaign.cluster import Cluster  # Not without its library.

    return partial(Cluster, client)


def settings_of(
    options: argparse.Namespace, vendors: tuple[Vendor, ...], variants: tuple[Variant, ...]
) -> Settings:
    """What `options` ask of a session. variants: the models that are compared, if any are. Raises
    AlphabetError, FolderError and OSError."""
    schedules = [one for place in options.corpus for one in given_by(place, vendors)]
    return Settings(
        vendors,
        ends_of(options, vendors, variants),
        options.out or LATEST,
        options.resume,
        variants,
        variant_options(options),
        options.seed,
        options.mix,
        options.max_corpus_mb << 20,
        certified(vendors, variants) if variants else None,
        schedules,
    )


def begin_anew(options: argparse.Namespace, out: Path) -> None:
    """Keep the campaign in `out` aside, unless that is to go on. Raises FolderError and OSError."""
    fresh = options.fresh or (options.out is None and not options.resume)
    if fresh and holds_campaign(out):
        place = keep_aside(out)
        if not options.json:
            print(f"the campaign in {printable(str(out))} is kept as {printable(str(place))}")


def do_fuzz(options: argparse.Namespace) -> int:
    out: Path = options.out or LATEST
    if options.resume and holds_campaign(out):
        options = resumed(options, out)
    vendors = (options.vendor,) if options.vendor else VENDORS
    if options.workers and options.workers < len(vendors):
        what = f"{len(vendors)} vendors take {len(vendors)} or more; --vendor chooses one"
        raise FuzzerError(f"--workers {options.workers}: {what}")
    if options.junit and (options.junit.is_dir() or not options.junit.parent.is_dir()):
        raise FuzzerError(f"--junit {options.junit}: no file can be written there")
    if options.live:
        options.variants = ",".join(names_of(options))
        settings = settings_of(options, vendors, ())
        begin_anew(options, out)
        return do_fuzz_live(options, settings)
    variants = choose(options.variants, options.variant)
    kernels = built_of([variant.name for variant in variants]) if options.confirm else {}
    automata = {vendor: Automaton(compared(vendor, variants)) for vendor in vendors}
    settings = settings_of(options, vendors, variants)
    given = settings.options
    known = read_known(options.known) if options.known else {}

    def announce(form: Form) -> None:
        if not options.json:
            signature = form.signature
            folder = printable(str(out / slug(signature)))
            print(signature)
            if one := known.get(str(signature)):
                print(f"    known: {printable(one.title)}")
            print(f"    {folder}", flush=True)

    with cluster.joined(options) as client:
        begin_anew(options, out)
        recruit = recruiting(client, options.workers)
        with watching(out) as progress:
            outcome = run(automata, settings, recruit, announce, progress)
    where = printable(str(out))
    if options.confirm:
        confirm(outcome, automata, kernels, out, given, TELLING)
    said = finish(out, options.all)
    if options.json:
        print((out / CAMPAIGN).read_text(), end="")
    else:
        print("\n" + said, end="")
        if gone := len(outcome.record.gone):
            print(f"\n{gone} signatures found before no longer show; see {where}/summary.md")
    if options.junit:
        write_junit(options.junit, outcome.forms, known, out)
    complain_of_races(variants, outcome.forms)
    new = [form for form in outcome.forms if str(form.signature) not in known]
    if options.known and not options.json:
        listed = printable(str(options.known))
        print(f"\n{len(new)} of {len(outcome.forms)} signatures are not in {listed}")
    return DIFFERENT if new else SAME
