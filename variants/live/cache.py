"""Where builds are kept: `$XDG_CACHE_HOME/eventdiff` or the folder of `--cache`."""

import json
import os
from pathlib import Path
from typing import Final

from variants.live.emulator import LiveError
from variants.live.kernel import agent_key, source_key
from variants.live.runner import Build

SETUP: Final = "setup.json"
COMMAND: Final = "run `python -m variants.live setup`"


def cache_folder(chosen: Path | None = None) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return chosen or Path(base) / "eventdiff"


def builds(chosen: Path | None, names: list[str]) -> dict[str, Build]:
    """The variants' builds; LiveError says which is missing or older than its source."""
    folder = cache_folder(chosen).resolve()
    try:
        contents = json.loads((folder / SETUP).read_text())
    except FileNotFoundError as error:
        raise LiveError(f"nothing is set up in {folder}: {COMMAND}") from error
    if contents["agent"]["source"] != agent_key():
        raise LiveError(f"the agent's source has changed: {COMMAND}")
    kernel = folder / contents["kernel"]
    found = {}
    for name in names:
        variant = contents["variants"].get(name)
        if not variant:
            raise LiveError(f"{name} is not built: {COMMAND}")
        if variant["source"] != source_key(name):
            raise LiveError(f"{name}'s kernel.cocci has changed: {COMMAND}")
        found[name] = Build(
            kernel / "vmlinuz",
            kernel / "irqbypass.ko",
            folder / variant["modules"],
            folder / contents["agent"]["file"],
        )
    return found
