"""Which Bochs runs VMX: the system's if it is new enough, else one of a later Debian."""

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from variants.live.apt import RELEASES, Suite
from variants.live.artefacts import Store
from variants.live.emulator import Unavailable
from variants.live.foreign import unpacked
from variants.live.host import HostAgent
from variants.live.machines import BOCHS_FILES, bochs_command
from variants.live.runner import Build

Version = tuple[int, ...]
ENOUGH: Final = (2, 8)
"""The first that masks NMIs as a processor does (docs/live-quirks.md)."""
PACKAGES: Final = ("bochs", "bochs-term", "bochsbios", "vgabios")
"""bochs-term, for it wants least of those one of which bochs depends on."""
FOLDER: Final = "bochs"
SAID: Final = re.compile(r"Bochs x86 Emulator (\d+)\.(\d+)")
FIRST_TWO: Final = re.compile(r"(\d+)\.(\d+)")


def numbers(found: "re.Match[str] | None") -> Version:
    return tuple(map(int, found.groups())) if found else ()


@cache
def version(root: Path | None) -> Version:
    """The version of the Bochs in `root`, or of the system's; () if there is none that runs."""
    command, environment = bochs_command(root)
    try:
        said = subprocess.run(
            [*command, "--help"],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError:
        return ()
    return numbers(SAID.search(said.stdout + said.stderr))


def bochs_of(builds: Iterable[Build | HostAgent]) -> Version | None:
    """The oldest Bochs that runs the builds' VMX schedules; None if the host does."""
    roots = {build.bochs for build in builds if isinstance(build, Build)}
    return min(map(version, roots), default=None)


def offered(suite: Suite) -> Version:
    """The version of the suite's Bochs; () if it has none."""
    if PACKAGES[0] not in suite.names(PACKAGES[0]):
        return ()
    return max(numbers(FIRST_TWO.match(one.version)) for one in suite.packages(PACKAGES[:1]))


def newer_bochs(store: Store, suites: Callable[[], Sequence[Suite]]) -> Path | None:
    """The folder of the cache with a Bochs that is new enough; None for the system's.

    That is used if it is new enough itself, and where no newer one can be had. suites: asked only
    if there is none in the cache. Raises LiveError.
    """
    if version(None) >= ENOUGH:
        return None
    if there := next(store.place(FOLDER).parent.glob(f"{FOLDER}-*"), None):
        return there
    try:
        releases = sorted(
            (suite for suite in suites() if suite.name in RELEASES),
            key=lambda suite: RELEASES.index(suite.name),
        )
        suite = next((suite for suite in releases if offered(suite) >= ENOUGH), None)
        return unpacked(store, suite, FOLDER, PACKAGES, BOCHS_FILES) if suite else None
    except Unavailable:
        return None
