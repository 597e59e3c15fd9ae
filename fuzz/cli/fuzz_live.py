"""`eventdiff fuzz --live`: real kernels run what Atheris makes."""

import argparse
from functools import partial
from typing import Final

from fuzz.campaign.campaign import FuzzerError, Settings
from fuzz.cli.cluster import joined
from fuzz.cli.output import complain
from fuzz.cli.status import DIFFERENT, SAME, TROUBLE
from fuzz.cli.view import watching
from fuzz.findings.known import read_known
from fuzz.live_campaign.campaign import Kernels, run
from fuzz.live_campaign.crews import here, on_cluster, usual_workers
from fuzz.live_campaign.report import lines_of
from fuzz.page.read import CAMPAIGN
from fuzz.report.folder import slug_of
from fuzz.review.findings import Found
from fuzz.review.report import title
from fuzz.schedule.schedule import printable
from variants.catalogue import BUILT_IN
from variants.live.cache import builds, fingerprints
from variants.live.emulator import LiveError
from variants.live.entries import canonical
from variants.live.inside import SUFFIX
from variants.live.subsets import hunks_of_patches

FOR_MODELS: Final = ("variant", "until_complete", "confirm", "junit")
"""Options that say nothing of real KVM."""


def names_of(options: argparse.Namespace) -> list[str]:
    """The live variants that are compared. Raises LiveError for fewer than two, FuzzerError for
    options that are for models."""
    for name in FOR_MODELS:
        if getattr(options, name):
            raise FuzzerError(f"--{name.replace('_', '-')} is for models, not for --live")
    given = options.variants.split(",") if options.variants else list(BUILT_IN)
    names = list(dict.fromkeys(canonical(name.removesuffix(SUFFIX)) for name in given))
    if len(names) < 2:
        raise LiveError("--live: name two variants at least, as --variants linux-6.12,mine")
    return names


def do_fuzz_live(options: argparse.Namespace, settings: Settings) -> int:
    """A session; the exit status. settings: its `options` name the variants. Raises LiveError,
    FolderError, KnownError, OSError and FuzzerError."""
    names = settings.options[-1].split(",")
    plain = builds(None, names)
    inside = builds(None, [name + SUFFIX for name in names])
    of_name = dict(zip(names, inside.values(), strict=True))
    kernels = Kernels(plain, of_name, hunks_of_patches(None, names))
    known = read_known(options.known) if options.known else {}

    def announce(signature: str, found: Found) -> None:
        if not options.json:
            print(f"{signature}\n    {printable(title(found))}")
            if one := known.get(signature):
                print(f"    known: {printable(one.title)}")
            print(f"    {printable(str(settings.out / slug_of(signature)))}", flush=True)

    with joined(options) as client, watching(settings.out) as progress:
        workers = options.workers or usual_workers(len(settings.vendors), len(names))
        crew = on_cluster(client, fingerprints(inside)) if client else partial(here, workers)
        outcome = run(settings, kernels, crew, announce, progress, complain)
    if options.json:
        print((settings.out / CAMPAIGN).read_text(), end="")
    else:
        print("\n".join(map(printable, ["", *lines_of(outcome, settings.out)])))
    if not outcome.schedules:
        complain("no schedule was run: it takes longer to boot")
    if outcome.found.keys() - known.keys():
        return DIFFERENT
    clean = outcome.schedules and not outcome.troubles and not outcome.left
    return SAME if clean else TROUBLE
