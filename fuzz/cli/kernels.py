"""`eventdiff live setup`, `kernels` and `remove`: which kernels and patches there are to run on."""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fuzz.cli.output import TELLING
from fuzz.cli.status import SAME
from fuzz.live.trial import parted, trial_schedules
from variants.live.cache import builds, cache_folder
from variants.live.emulator import LiveError
from variants.live.entries import Entry, read_setup, version_of
from variants.live.inside import SUFFIX
from variants.live.offers import Offer, newest, numbers, offered
from variants.live.request import Request
from variants.live.runner import Build
from variants.live.semantic import BASE
from variants.live.setup import set_up
from variants.live.storage import megabytes, remove

SETUP_EPILOG = """\
examples:
  eventdiff live setup                                # Linux 5.10 and the project's variants
  eventdiff live setup --kernel 6.12 --kernel 7.3     # and linux-6.12, linux-7.3
  eventdiff live setup --kernel 6.12.117              # linux-6.12, that version
  eventdiff live setup --kernel-patch mine.patch --on linux-6.12    # and the variant `mine`
  eventdiff live setup --kernel-patch series.mbox --each            # and series@1, series@2, ..
  eventdiff live setup --kernel-tree ~/linux          # and `linux`, that tree as it is now
  eventdiff live setup --instrument linux-6.12        # and linux-6.12+inside: see docs/inside.md

What is set up stays until `eventdiff live remove`; what has been built before is not built again.
The environment's EVENTDIFF_CACHE is another way to choose the cache.
"""
KERNELS_EPILOG = """\
examples:
  eventdiff live kernels           # the newest of each series, and what is set up
  eventdiff live kernels 6.12      # all that there is of 6.12
"""


def add_parsers(subcommands: "argparse._SubParsersAction[Any]") -> None:
    """Add the three to the commands of `eventdiff live`."""
    raw = argparse.RawDescriptionHelpFormatter
    about = "Bring all that live runs need into a cache folder: kernels, builds, agent."
    setup = subcommands.add_parser(
        "setup", help=about, description=about, epilog=SETUP_EPILOG, formatter_class=raw
    )
    setup.add_argument(
        "--kernel",
        metavar="SERIES",
        action="append",
        default=[],
        help="Debian's kernel of this series, the newest, or of this version; rebuilt and held "
        "against its own modules where it has source",
    )
    setup.add_argument(
        "--kernel-tree",
        type=Path,
        metavar="DIR",
        help="the KVM of this Linux tree, as it is now: on Debian's kernel of that very version, "
        "else the tree is built whole, outside of it",
    )
    setup.add_argument(
        "--kernel-patch",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="build a live variant from this unified diff or series, named after the file",
    )
    setup.add_argument(
        "--on", metavar="NAME", default="", help="what it is for (the tree, or the newest kernel)"
    )
    setup.add_argument(
        "--each", action="store_true", help="each patch of a series as a variant too: mine@1, .."
    )
    setup.add_argument(
        "--instrument",
        metavar="NAME",
        action="append",
        default=[],
        help="the live variant NAME with a callback in each basic block as well, as NAME+inside",
    )
    setup.add_argument("--refresh", action="store_true", help="ask the mirror for newer kernels")
    add_mirror(setup)
    add_cache(setup)

    about = "List the kernels that the mirrors offer, and what is set up."
    kernels = subcommands.add_parser(
        "kernels", help=about, description=about, epilog=KERNELS_EPILOG, formatter_class=raw
    )
    kernels.add_argument("series", nargs="*", metavar="SERIES", help="list all of these")
    kernels.add_argument("--json", action="store_true", help="one object, all versions")
    add_mirror(kernels)
    add_cache(kernels)

    about = "Forget live variants: patches, trees, kernels; what only they used goes."
    removing = subcommands.add_parser("remove", help=about, description=about)
    removing.add_argument("names", nargs="+", metavar="NAME")
    add_cache(removing)


def instrumented_builds(options: argparse.Namespace) -> dict[str, Build]:
    """The instrumented builds of --variants, or of the base."""
    names = (options.variants or BASE).split(",")
    return builds(options.cache, [name.removesuffix(SUFFIX) + SUFFIX for name in names])


def add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="(eventdiff in the XDG cache folder)"
    )


def add_mirror(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mirror",
        metavar="URL",
        help="Debian archive; URL-security is taken as the security archive "
        "(default: those of this machine's apt)",
    )


def trial(builds: Mapping[str, Build]) -> tuple[int, list[str]]:
    """Run the schedules that a rebuilt kernel must pass: how many, and which part."""
    schedules = trial_schedules()
    return len(schedules), parted(schedules, builds, TELLING)


def do_setup(options: argparse.Namespace) -> int:
    """Raises LiveError and OSError."""
    request = Request(
        tuple(options.kernel),
        options.kernel_tree,
        tuple(options.kernel_patch),
        options.on,
        options.each,
        options.mirror,
        options.refresh,
        tuple(options.instrument),
    )
    for line in set_up(options.cache, request, trial):
        print(line, flush=True)
    return SAME


def do_kernels(options: argparse.Namespace) -> int:
    """Raises LiveError, after what is set up has been told."""
    folder = cache_folder(options.cache).resolve()
    variants = variants_in(folder)
    if not options.json:
        for line in set_up_lines(folder, variants):
            print(line, flush=True)
    offers = newest(offered(folder / "apt", options.mirror))
    if options.json:
        print(json.dumps({"offered": [offer_json(one) for one in offers], "set up": variants}))
        return SAME
    for line in offer_lines(offers, options.series):
        print(line)
    return SAME


def variants_in(folder: Path) -> dict[str, dict[str, str]]:
    """What is set up, by name: its version, what it is on, its patch or tree."""
    try:
        setup = read_setup(folder)
    except LiveError:
        return {}
    return {
        name: {
            "version": version_of(folder / entry.kernel),
            "on": entry.on,
            "patch": entry.patch,
            "tree": entry.tree,
            "source": "image only" if image_only(entry) else "yes",
        }
        for name, entry in setup.variants.items()
    }


def image_only(entry: Entry) -> bool:
    """Whether a kernel came without source."""
    return entry.modules.endswith("/stock") and not entry.tree


def set_up_lines(folder: Path, variants: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What is set up: kernels, and below each what is built on it."""
    if not variants:
        yield f"nothing is set up in {folder}"
        return
    yield "set up:"
    for name, facts in variants.items():
        what = facts["patch"] or facts["tree"] or ("kernel.cocci" if facts["on"] else "")
        if facts["on"]:
            yield f"    {name:16} {what}"
        else:
            image = ", image only" if facts["source"] != "yes" else ""
            yield f"  {name:18} Linux {facts['version']}{image}{f'  {what}' if what else ''}"
    yield f"cache: {megabytes([folder])} MB in {folder}"
    yield ""


def offer_lines(offers: list[Offer], wanted: list[str]) -> Iterator[str]:
    """A table: the newest of each series, or all of the series named."""
    yield f"{'series':8}{'version':24}{'suite':20}{'source':12}{'MB':>5}"
    for series in sorted({offer.series for offer in offers}, key=numbers):
        if wanted and series not in wanted:
            continue
        mine = [offer for offer in offers if offer.series == series]
        first = next((offer for offer in mine if offer.build), mine[0])
        for offer in mine if wanted else [first]:
            source = "yes" if offer.build else "image only"
            others = "" if wanted or len(mine) < 2 else f"  and {len(mine) - 1} others"
            size = offer.size // 1_000_000
            yield (
                f"{offer.series:8}{offer.version:24}{offer.suite.name:20}{source:12}"
                f"{size:5}{others}"
            )


def offer_json(offer: Offer) -> dict[str, Any]:
    return {
        "series": offer.series,
        "version": offer.version,
        "suite": offer.suite.name,
        "source": bool(offer.build),
        "bytes": offer.size,
    }


def do_remove(options: argparse.Namespace) -> int:
    """Raises LiveError and OSError."""
    print(remove(options.cache, options.names))
    return SAME


COMMANDS = {"setup": do_setup, "kernels": do_kernels, "remove": do_remove}
