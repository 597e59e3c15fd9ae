"""Where builds are kept: `$XDG_CACHE_HOME/eventdiff` or the folder of `--cache`."""

import os
from pathlib import Path

from variants.live.emulator import LiveError
from variants.live.runner import Build


def cache_folder(chosen: Path | None = None) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return chosen or Path(base) / "eventdiff"


def builds(chosen: Path | None, names: list[str]) -> dict[str, Build]:
    """The variants' builds; LiveError names the first that is missing."""
    folder = cache_folder(chosen)
    found = {}
    for name in names:
        build = Build(
            folder / "boot/vmlinuz",
            folder / "boot/irqbypass.ko",
            folder / "variants" / name,
            folder / "boot/agent",
        )
        for part in (build.vmlinuz, build.agent, build.modules / "kvm.ko"):
            if not part.exists():
                raise LiveError(
                    f"{name} is not built: run `eventdiff live setup` ({part} is missing)"
                )
        found[name] = build
    return found
