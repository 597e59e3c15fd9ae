"""`eventdiff live conform`: the command's options and output."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fuzz.cli.output import TELLING, complain
from fuzz.cli.status import DIFFERENT, SAME, TROUBLE
from fuzz.live.conform import conform, report_text
from fuzz.live.cover import Covering, covering
from fuzz.live.run import MORE_THAN_CORES, why_not
from fuzz.live.sample import Sample, sample
from fuzz.schedule.file import files_in, read_schedule
from fuzz.schedule.schedule import races
from fuzz.schedule.seeds import seed_files
from variants.catalogue import choose, load_file
from variants.live.cache import builds, cache_folder
from variants.live.emulator import LiveError
from variants.live.entries import canonical
from variants.machine.step import VENDORS, Vendor

SAMPLES: Final[Mapping[Vendor, int]] = {"svm": 500, "vmx": 100}
REPORTS: Final = Path("reports")


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
    parser.add_argument(
        "--cover",
        action="store_true",
        help="instead of samples a covering set, the same each time: walks that prefer what is "
        "new, then every step in every outline of the base's states; thousands of schedules",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="other samples (1)")
    parser.add_argument("--vendor", choices=VENDORS, help="one vendor only")
    parser.add_argument("--variants", default="", metavar="A,B,..", help="(all three)")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="FILE",
        help="hold this model of yours against the live build of its name",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where setup put the kernels")
    parser.add_argument(
        "--jobs",
        type=int,
        default=MORE_THAN_CORES,
        metavar="N",
        help="emulators at a time (one more than cores)",
    )
    parser.add_argument("--json", action="store_true", help="counts by vendor and variant only")


def described(chosen: Covering | Sample) -> str:
    """How many schedules were chosen, and what they cover."""
    if isinstance(chosen, Sample):
        reached = f"{chosen.covered} of {chosen.reached} joint states reached"
        return f"{len(chosen.schedules)} of them sampled ({reached})"
    walked = f"{chosen.known} of {chosen.explored} pairs of outline and step"
    beyond = f"{chosen.walked - chosen.known} others"
    return (
        f"{len(chosen.walks)} of them walks ({walked}, and {beyond}), "
        f"{len(chosen.tours)} tours (all the rest)"
    )


def do_conform(options: argparse.Namespace) -> int:
    """The command: 0 all agree or a listed quirk is why not, 1 disagreements, 2 runs broke off.

    Raises LiveError, ScheduleError, VariantError and OSError.
    """
    if options.cover and (options.samples or options.corpus):
        raise LiveError("--cover takes the place of --samples and --corpus")
    paths = options.files or [
        *map(str, seed_files()),
        *([str(REPORTS)] if REPORTS.is_dir() else []),
    ]
    given = [read_schedule(path) for path in files_in(paths)]
    wanted = options.samples or ({} if options.files or options.cover else SAMPLES)
    # With a file alone it is that model which is held against its build.
    given_names = ",".join(map(canonical, options.variants.split(",")))
    named = given_names or ",".join(load_file(path).name for path in options.variant)
    variants = choose(named, options.variant, least=1)
    kernels = builds(options.cache, [variant.name for variant in variants])
    counts: dict[str, dict[str, dict[str, int]]] = {}
    status = SAME
    for vendor in [options.vendor] if options.vendor else VENDORS:
        mine = [one for one in given if one.vendor == vendor]
        reasons = [why_not(one, kernels) for one in mine]
        for reason, times in Counter(filter(None, reasons)).items():
            complain(f"{vendor}: {times} left out: {reason}")
        chosen: Covering | Sample
        if options.cover:
            with TELLING.ticking(f"{vendor}: making the covering set") as tick:
                chosen = covering(vendor, cache_folder(options.cache).resolve(), tick)
        else:
            chosen = sample(vendor, variants, wanted.get(vendor, 0), options.corpus, options.seed)
        fit = [one for one, reason in zip(mine, reasons, strict=True) if not reason]
        todo = [*fit, *chosen.schedules]
        if not todo:
            continue
        racing = sum(map(races, todo))
        complain(
            f"{vendor}: {len(todo)} schedules, {described(chosen)}"
            + (f", {racing} of them races, on instrumented builds" if racing else "")
        )
        tallies = conform(todo, vendor, variants, kernels, TELLING, options.jobs)
        counts[vendor] = {name: tally.as_json() for name, tally in tallies.items()}
        if any(tally.broken for tally in tallies.values()):
            status = TROUBLE
        elif any(tally.unexplained for tally in tallies.values()):
            status = max(status, DIFFERENT)
        if not options.json:
            print(report_text(vendor, tallies), flush=True)
    if options.json:
        print(json.dumps(counts))
    return status
