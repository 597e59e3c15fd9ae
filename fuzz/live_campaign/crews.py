"""Who fuzzes for a live campaign: processes here, or rounds on a cluster's workers, each with
emulators of its own."""

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from fuzz.campaign.campaign import Recruit, Settings
from fuzz.campaign.local import Local, hire
from variants.live.cache import builds, cache_folder, fingerprints
from variants.live.emulator import LiveError

if TYPE_CHECKING:
    from distributed import Client

TARGET: Final = "fuzz.live_campaign.target"
PATIENCE: Final = 10.0
"""Seconds in which a process that is told to end does, with its emulators."""
ROUNDS: Final = (60, 600)
"""Seconds of a round, the first and the longest: emulators boot in each, and run what is known."""


def here(workers: int, settings: Settings, session: int) -> Local:
    """So many processes on this machine."""
    return hire(settings, session, workers, TARGET, PATIENCE)


def usual_workers(vendors: int, variants: int) -> int:
    """How many processes keep this machine busy: each has an emulator a variant, all of which run
    at a time, and at least one a vendor there is."""
    return max(vendors, (os.cpu_count() or 1) // variants)


def on_cluster(client: "Client", wanted: Mapping[str, str]) -> Recruit:
    """Rounds on the workers of a cluster. wanted: what a worker's instrumented kernels have to be
    (`fingerprints`)."""
    from fuzz.campaign.cluster import Cluster  # Not without its library.
    from fuzz.campaign.rounds import Kind

    kind = Kind(TARGET, *ROUNDS, PATIENCE, partial(lacks, dict(wanted)))
    return partial(Cluster, client, kind=kind)


def lacks(wanted: Mapping[str, str]) -> str:
    """On a worker: what of its own set-up is not as is `wanted`, in one line, "" if all is."""
    try:
        there = fingerprints(builds(None, list(wanted)))
    except LiveError as error:
        return f"cannot fuzz: {error}"
    others = [name for name, one in wanted.items() if there[name] != one]
    if others:
        where = cache_folder()
        return f"has another build of {others[0]} in {where}: set it up as it is here"
    return ""
