"""Where builds are kept, and whether they are there and up to date."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from variants.live.emulator import LiveError
from variants.live.host import HostAgent
from variants.live.kernel import agent_key, patch_key, source_key
from variants.live.patches import read_patch
from variants.live.runner import Build

SETUP: Final = "setup.json"
COMMAND: Final = "run `eventdiff live setup`"


def cache_folder(chosen: Path | None = None) -> Path:
    """`chosen`, else EVENTDIFF_CACHE, else `eventdiff` in the XDG cache."""
    if chosen or os.environ.get("EVENTDIFF_CACHE"):
        return chosen or Path(os.environ["EVENTDIFF_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventdiff"


def names_set_up(chosen: Path | None) -> list[str]:
    """The variants that are set up. Raises LiveError if nothing is."""
    return list(read_setup(cache_folder(chosen).resolve())["variants"])


def builds(chosen: Path | None, names: Sequence[str]) -> dict[str, Build]:
    """The builds of `names`. LiveError says which is missing or older than its source."""
    folder = cache_folder(chosen).resolve()
    contents = read_setup(folder)
    agent = fresh_agent(folder, contents)
    kernel = folder / contents["kernel"]
    found = {}
    for name in names:
        variant = contents["variants"].get(name)
        if not variant:
            there = ", ".join(contents["variants"])
            raise LiveError(f"no live variant {name!r}, only {there}; see `eventdiff live setup`")
        check_fresh(name, variant)
        found[name] = Build(
            kernel / "vmlinuz",
            kernel / "irqbypass.ko",
            folder / variant["modules"],
            agent,
        )
    return found


def host_agent(chosen: Path | None) -> HostAgent:
    """The agent, to run on the host. Raises LiveError if it is not there or too old."""
    folder = cache_folder(chosen).resolve()
    return HostAgent(fresh_agent(folder, read_setup(folder)))


def fresh_agent(folder: Path, contents: Mapping[str, Any]) -> Path:
    if contents["agent"]["source"] != agent_key():
        raise LiveError(f"the agent's source has changed: {COMMAND}")
    return Path(folder, contents["agent"]["file"])


def read_setup(folder: Path) -> dict[str, Any]:
    """What is set up in `folder`. Raises LiveError if nothing is."""
    try:
        contents = json.loads((folder / SETUP).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise LiveError(f"nothing is set up in {folder}: {COMMAND}") from None
    except ValueError:
        raise LiveError(f"{folder / SETUP} is damaged: {COMMAND}") from None
    assert isinstance(contents, dict)
    return contents


def check_fresh(name: str, variant: Mapping[str, str]) -> None:
    """Raise LiveError if the variant's source is not what was built."""
    patch = variant.get("patch")
    if patch is None:
        if variant["source"] != source_key(name):
            raise LiveError(f"{name}'s kernel.cocci has changed: {COMMAND}")
        return
    # The patch file may be gone; the build is good all the same.
    if Path(patch).exists() and variant["source"] != patch_key(read_patch(Path(patch))):
        raise LiveError(f"{patch} has changed: run `eventdiff live setup --kernel-patch {patch}`")
