"""`eventdiff review` and `eventdiff live compare`: what a patch, or a kernel, does differently."""

import argparse
import json
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fuzz.cli.ends import duration
from fuzz.cli.kernels import add_cache, add_mirror, trial, variants_in
from fuzz.cli.output import TELLING, complain, on_terminal, seldom
from fuzz.cli.status import DIFFERENT, SAME, TROUBLE
from fuzz.report.folder import slug_of
from fuzz.review.attribution import lay_to_hunks, lay_to_kernels
from fuzz.review.reached import Reached, reach
from fuzz.review.reached_text import nothing_reached
from fuzz.review.report import Facts, lines_of, review_json, write_report
from fuzz.review.review import Clock, Review, review
from variants.catalogue import BUILT_IN
from variants.live.bochs import bochs_of
from variants.live.cache import builds, cache_folder, identities
from variants.live.emulator import LiveError
from variants.live.entries import KERNEL, STOCK, canonical, is_kernel, read_setup
from variants.live.hunks import Hunk
from variants.live.inside import SUFFIX
from variants.live.machines import qemu_version
from variants.live.request import Request
from variants.live.runner import Build
from variants.live.same_code import same_code
from variants.live.semantic import BASE
from variants.live.setup import instrumented_patch, set_up
from variants.live.subsets import patch_hunks
from variants.machine.step import VENDORS, Vendor

REPORTS: Final = Path("reports")
RANGE: Final = re.compile(r"([^/\s]+?)\.\.([^/\s]+)")
ONLY: Final[Mapping[str, Vendor]] = {"arch/x86/kvm/svm/": "svm", "arch/x86/kvm/vmx/": "vmx"}
"""Folders of which only one vendor's module is built."""

REACHING: Final = 120
"""Seconds for what was run to be run again, to see which lines of a patch it reaches."""
ABOUT: Final = """\
Find what a patch, or a kernel, does differently on real KVM: schedules are proposed, run on both,
and each difference is minimised, repeated, and laid to the patch's hunks or to a kernel between.
"""
EPILOG: Final = """\
examples:
  eventdiff review mine.patch --on linux-6.12
  eventdiff review series.mbox --vendor svm --time 90
  eventdiff review linux-6.12..linux-6.18
  eventdiff review original..paolo

What is missing is set up first, as by `eventdiff live setup`. The reports are in --out: summary.md,
a folder a difference, tested.txt to paste into a mail. The same command goes on where it was.

exit status: 0 no difference, 1 differences, 2 trouble
"""
COMPARE_EPILOG: Final = """\
example:
  eventdiff live compare linux-5.10 linux-6.1 linux-6.12
"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `review` to the commands of `eventdiff`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "review",
        help="Find what a patch or a kernel does differently on real KVM.",
        description=ABOUT,
        epilog=EPILOG,
        formatter_class=raw,
    )
    parser.add_argument(
        "what", metavar="PATCH|A..B", help="a unified diff, a series or mailbox; or two kernels"
    )
    parser.add_argument(
        "--on", metavar="BASE", default="", help="what the patch is for (the newest kernel)"
    )
    add_options(parser)


def add_compare(subcommands: "argparse._SubParsersAction[Any]") -> None:
    """Add `compare` to the commands of `eventdiff live`."""
    about = "Search for what kernels that are set up do differently; the first is the base."
    raw = argparse.RawDescriptionHelpFormatter
    parser = subcommands.add_parser(
        "compare", help=about, description=about, epilog=COMPARE_EPILOG, formatter_class=raw
    )
    parser.add_argument("names", nargs="+", metavar="NAME")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--time",
        type=duration,
        metavar="S",
        help="stop proposing schedules after S seconds (when nothing new comes)",
    )
    parser.add_argument("--vendor", choices=VENDORS, help="only this one")
    parser.add_argument("--out", type=Path, metavar="DIR", help="(reports/review-..)")
    parser.add_argument("--json", action="store_true", help="print review.json when done")
    add_mirror(parser)
    add_cache(parser)


def do_review(options: argparse.Namespace) -> int:
    """Raises LiveError and OSError."""
    kernels = RANGE.fullmatch(options.what)
    if kernels and not Path(options.what).exists():
        if options.on:
            raise LiveError("--on is for patches")
        names = [canonical(name) for name in kernels.groups()]
        known = variants_in(cache_folder(options.cache).resolve())
        missing = {plain for name in names if (plain := name.removesuffix(STOCK)) not in known}
        for name in sorted(missing):
            if not is_kernel(name) and name not in BUILT_IN:
                raise LiveError(f"{name} is not set up, and is no kernel or variant to set up")
        wanted = tuple(name.removeprefix(KERNEL) for name in missing if is_kernel(name))
        if missing:
            prepare(options, Request(kernels=wanted, mirror=options.mirror))
        return compared(options, names)
    file = Path(options.what)
    prepare(options, Request(patches=(file,), on=options.on, mirror=options.mirror))
    name, base = patch_and_base(options, file)
    hunks = patch_hunks(options.cache, name)
    return compared(options, [base, name], hunks)


def do_compare(options: argparse.Namespace) -> int:
    """Raises LiveError and OSError."""
    names = list(dict.fromkeys(map(canonical, options.names)))
    if len(names) < 2:
        raise LiveError("compare: two kernels at least")
    return compared(options, names)


def prepare(options: argparse.Namespace, request: Request) -> None:
    """Set up what is missing, and say what a patch changes."""
    for line in set_up(options.cache, request, trial):
        if any(line.startswith(f"{file.stem}: changes ") for file in request.patches):
            print(line, file=sys.stderr, flush=True)


def patch_and_base(options: argparse.Namespace, file: Path) -> tuple[str, str]:
    """The variant that a patch file is, and the one that it is on."""
    setup = read_setup(cache_folder(options.cache).resolve())
    for name, entry in setup.variants.items():
        if entry.patch == str(file.resolve()) and "@" not in name:
            return name, entry.on
    raise LiveError(f"{file} is not set up")


def compared(options: argparse.Namespace, names: Sequence[str], hunks: Sequence[Hunk] = ()) -> int:
    """Review variants that are set up. hunks: of the second, if it is a patch."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    of = builds(options.cache, names)
    folder = cache_folder(options.cache).resolve()
    touched = {ONLY.get(hunk.file[: hunk.file.rfind("/") + 1]) for hunk in hunks}
    only = next(iter(touched)) if len(touched) == 1 else None
    chosen, left_out = vendors_of(options.vendor, only)
    out = options.out or REPORTS / f"review-{slug_of('-'.join(names))}"
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock(options.time)
    facts = facts_of(folder, names, of, left_out)._replace(hunks=tuple(map(str, hunks)))
    if hunks and same_code(*(of[name].modules for name in names)):
        result = Review(tuple(names), same_code=True)
    else:
        result = review(of, identities(of), chosen, folder, out, clock, TELLING, saying())
    write_report(out, result, facts)
    if not result.interrupted:
        try:
            if hunks and not result.same_code:
                result.reached = lines_reached(options, result, names[1], hunks, out)
                write_report(out, result, facts)
            attribute(options, result, names, of, hunks)
        except KeyboardInterrupt:
            result.interrupted = True
        write_report(out, result, facts)
    if options.json:
        print(json.dumps(review_json(result)))
    else:
        print("\n".join(lines_of(result, facts, out)))
    if result.interrupted:
        complain("interrupted: the same command goes on")
    return status_of(result)


def saying() -> Callable[[str], None]:
    """A function that says now and then how far it is; a terminal shows that all the time."""
    say = seldom()
    return lambda line: None if on_terminal() else say(lambda: line)


def vendors_of(
    asked: Vendor | None, only: Vendor | None
) -> tuple[tuple[Vendor, ...], dict[Vendor, str]]:
    """Which vendors to run, and why the others are not."""
    if asked:
        return (asked,), {one: "not asked for" for one in VENDORS if one != asked}
    if only:
        return (only,), {one: "no change to its code" for one in VENDORS if one != only}
    return VENDORS, {}


def facts_of(
    folder: Path, names: Sequence[str], of: Mapping[str, Build], left_out: Mapping[Vendor, str]
) -> Facts:
    known = variants_in(folder)
    plain = {name: name.removesuffix(STOCK).removesuffix(SUFFIX) for name in names}
    versions = {name: known[plain[name]]["version"] for name in names}
    bochs = ".".join(map(str, bochs_of(of.values()) or ()))
    emulators: dict[Vendor, str] = {"svm": f"QEMU {qemu_version()}, TCG", "vmx": f"Bochs {bochs}"}
    patch = known[plain[names[1]]]["patch"]
    return Facts(versions, emulators, left_out, Path(patch).name)


def lines_reached(
    options: argparse.Namespace, result: Review, name: str, hunks: Sequence[Hunk], out: Path
) -> Reached:
    """Which of a patch's lines were reached by what was run. Raises OSError."""
    seconds = min(REACHING, options.time or REACHING)
    hunts = {vendor: one.hunt for vendor, one in result.reviewed.items()}
    try:
        build = instrumented_patch(options.cache, name, [hunk.file for hunk in hunks])
        clock = Clock(seconds)
        return reach(name, build, hunks, hunts, out, clock.proposing, TELLING)
    except LiveError as error:
        return Reached(unknown=str(error))


def attribute(
    options: argparse.Namespace,
    result: Review,
    names: Sequence[str],
    of: Mapping[str, Build],
    hunks: Sequence[Hunk],
) -> None:
    """Lay what was found to hunks, or to a kernel between two."""
    base, other = names[0], names[1]
    if not result.found or len(names) > 2:
        return
    if hunks:
        lay_to_hunks(result.found, options.cache, other, (base, of[base]), hunks, TELLING)
    elif all(is_kernel(name) or name == BASE for name in names):
        ends = ((base, of[base]), (other, of[other]))
        lay_to_kernels(result.found, options.cache, ends, options.mirror, TELLING)


def status_of(result: Review) -> int:
    if result.found:
        return DIFFERENT
    if result.same_code:
        return SAME
    hunts = [one.hunt for one in result.reviewed.values()]
    sure = all(hunt.schedules and not hunt.unexplained for hunt in hunts)
    sure = sure and not nothing_reached(result.reached)
    return SAME if sure and not result.interrupted else TROUBLE
