"""Where builds are kept, and whether they are there and up to date."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from variants.live.agent_build import agent_key
from variants.live.emulator import LiveError
from variants.live.entries import COMMAND, Entry, Setup, canonical, read_setup
from variants.live.host import HostAgent
from variants.live.inside import SUFFIX, instrumented_place
from variants.live.patches import patch_key, read_patch
from variants.live.runner import Build
from variants.live.semantic import source_key, variant_names


def cache_folder(chosen: Path | None = None) -> Path:
    """`chosen`, else EVENTDIFF_CACHE, else `eventdiff` in the XDG cache."""
    if chosen or os.environ.get("EVENTDIFF_CACHE"):
        return chosen or Path(os.environ["EVENTDIFF_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventdiff"


def names_set_up(chosen: Path | None) -> list[str]:
    """The variants that are set up. Raises LiveError if nothing is."""
    return list(read_setup(cache_folder(chosen).resolve()).variants)


def builds(chosen: Path | None, names: Sequence[str]) -> dict[str, Build]:
    """The builds of `names`. LiveError says which is missing or older than its source."""
    folder = cache_folder(chosen).resolve()
    setup = read_setup(folder)
    check_agent(setup)
    found = {}
    for name in names:
        plain = name.removesuffix(SUFFIX)
        entry = setup.entry(plain)
        if not entry:
            there = ", ".join(setup.variants)
            raise LiveError(f"no live variant {name!r}, only {there}; see `eventdiff live setup`")
        check_fresh(plain, entry)
        build = build_of(folder, setup, entry)
        inside = instrumented_place(folder, canonical(plain), build.modules.name)
        if inside.exists():
            build = replace(build, inside=inside)
        if plain != name:
            build = instrumented(plain, build)
        found[name] = build
    return found


def identities(of: Mapping[str, Build]) -> dict[str, str]:
    """What tells these builds from others; artefacts are named by what they were built from."""
    return {
        name: " ".join(map(str, (build.vmlinuz, build.modules, build.agent, build.bochs)))
        for name, build in of.items()
    }


def fingerprints(of: Mapping[str, Build]) -> dict[str, str]:
    """`identities`, wherever the cache is, and in whatever emulator they run."""
    return {
        name: " ".join(
            one.parent.name for one in (build.vmlinuz, build.modules / "kvm.ko", build.agent)
        )
        for name, build in of.items()
    }


def build_of(folder: Path, setup: Setup, entry: Entry) -> Build:
    """What an entry of the cache in `folder` boots with."""
    kernel = folder / entry.kernel
    return Build(
        kernel / "vmlinuz",
        kernel / "irqbypass.ko",
        folder / entry.modules,
        folder / setup.agent,
        folder / setup.bochs if setup.bochs else None,
    )


def instrumented(name: str, build: Build) -> Build:
    """The build with a callback in each block. Raises LiveError if there is none."""
    if not build.inside:
        again = f"run `eventdiff live setup --instrument {name}`"
        raise LiveError(f"{name} is not instrumented: {again}")
    return replace(build, modules=build.inside)


def host_agent(chosen: Path | None) -> HostAgent:
    """The agent, to run on the host. Raises LiveError if it is not there or too old."""
    folder = cache_folder(chosen).resolve()
    setup = read_setup(folder)
    check_agent(setup)
    return HostAgent(folder / setup.agent)


def check_agent(setup: Setup) -> None:
    if setup.agent_key != agent_key():
        raise LiveError(f"the agent's source has changed: {COMMAND}")


def check_fresh(name: str, entry: Entry) -> None:
    """Raise LiveError if the variant's source is not what was built."""
    if name in variant_names() and entry.source != source_key(name):
        raise LiveError(f"{name}'s kernel.cocci has changed: {COMMAND}")
    # The patch file may be gone; the build is good all the same.
    whole = entry.patch and "@" not in name and Path(entry.patch).exists()
    if whole and entry.source != patch_key(read_patch(Path(entry.patch))):
        again = f"--kernel-patch {entry.patch} --on {entry.on}"
        raise LiveError(f"{entry.patch} has changed: run `eventdiff live setup {again}`")
