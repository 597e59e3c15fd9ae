"""`python -m variants.live setup`: bring everything that live runs need into the cache."""

import argparse
import json
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

from variants.live.artefacts import Store, locked, progress
from variants.live.cache import SETUP, cache_folder
from variants.live.debian import fetch_kernel
from variants.live.emulator import LiveError
from variants.live.kernel import (
    agent_key,
    build_agent,
    build_modules,
    source_key,
    variant_names,
)
from variants.live.machines import ISOLINUX, LDLINUX

TOOLS: Final = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "tar": "tar",
    "xz": "xz-utils",
    "gcc": "gcc",
    "ld": "binutils",
    "make": "make",
    "spatch": "coccinelle",
    "qemu-system-x86_64": "qemu-system-x86",
    "bochs": "bochs",
    "genisoimage": "genisoimage",
}
FILES: Final = {
    str(ISOLINUX): "isolinux",
    str(LDLINUX): "syslinux-common",
    "/usr/share/bochs/BIOS-bochs-latest": "bochsbios",
    "/usr/share/bochs/VGABIOS-lgpl-latest": "vgabios",
    "/usr/include/linux/kvm.h": "linux-libc-dev",
    "/usr/include/libelf.h": "libelf-dev",
    "/usr/include/stdio.h": "libc6-dev",
}


def missing() -> dict[str, str]:
    """What is not on this machine, and the Debian package that has it."""
    return {tool: package for tool, package in TOOLS.items() if not shutil.which(tool)} | {
        file: package for file, package in FILES.items() if not Path(file).exists()
    }


def check_machine() -> None:
    if platform.machine() != "x86_64":
        raise LiveError(f"live runs need an x86_64 machine to build on, not {platform.machine()}")
    lacking = missing()
    if lacking:
        packages = " ".join(sorted(set(lacking.values())))
        raise LiveError(f"{', '.join(lacking)} missing: apt-get install {packages}")


def kernel_of(store: Store, mirror: str | None, refresh: bool) -> Path:
    """The kernel of the cache; of the mirror if there is none or a newer one is asked for."""
    noted = store.folder / "kernel"
    if noted.exists() and not refresh:
        found = store.folder / noted.read_text().strip()
        if found.exists():
            progress(f"{found.name}: in the cache")
            return found
    found = fetch_kernel(store, mirror)
    draft = store.folder / "making-kernel"
    draft.write_text(f"{found.relative_to(store.folder)}\n")
    draft.replace(noted)
    return found


def setup(store: Store, mirror: str | None, refresh: bool) -> None:
    kernel = kernel_of(store, mirror, refresh)
    agent = build_agent(store)
    built: dict[str, dict[str, str]] = {}
    for name in variant_names():
        modules = build_modules(store, name, kernel)
        built[name] = {
            "modules": str(modules.relative_to(store.folder)),
            "source": source_key(name),
        }
    contents: dict[str, Any] = {
        "kernel": str(kernel.relative_to(store.folder)),
        "agent": {"file": str((agent / "agent").relative_to(store.folder)), "source": agent_key()},
        "variants": built,
    }
    before = store.folder / SETUP
    if not before.exists() or json.loads(before.read_text()) != contents:
        store.record(contents)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m variants.live setup", description=__doc__)
    parser.add_argument("--cache", type=Path, help="folder (default: eventdiff in the XDG cache)")
    parser.add_argument(
        "--mirror",
        metavar="URL",
        help="Debian archive; URL-security is taken as the security archive "
        "(default: those of this machine's apt)",
    )
    parser.add_argument("--refresh", action="store_true", help="ask the mirror for a newer kernel")
    args = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        check_machine()
        with locked(cache_folder(args.cache)) as store:
            setup(store, args.mirror, args.refresh)
            progress(f"ready in {store.folder} ({time.monotonic() - start:.0f} s)")
    except (LiveError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; the next setup goes on from here", file=sys.stderr)
        return 2
    return 0
