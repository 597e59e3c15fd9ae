"""`eventdiff live setup`: bring everything that live runs need into the cache."""

import json
import platform
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from variants.live.artefacts import Store, locked, progress
from variants.live.cache import SETUP, cache_folder
from variants.live.debian import fetch_kernel
from variants.live.emulator import LiveError, Unavailable
from variants.live.kernel import (
    BASE,
    NotApplicable,
    agent_key,
    build_agent,
    build_patched,
    build_variant,
    changed_by,
    patch_key,
    source_key,
    variant_names,
)
from variants.live.machines import ISOLINUX, LDLINUX
from variants.live.patches import KernelPatch, read_patch
from variants.live.tree import check_tree, kernel_with_tree
from variants.variant import machine_functions, name_of

TOOLS: Final = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "tar": "tar",
    "xz": "xz-utils",
    "gcc": "gcc",
    "ld": "binutils",
    "make": "make",
    "git": "git",
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
        raise Unavailable(f"live runs need an x86_64 machine to build on, not {platform.machine()}")
    lacking = missing()
    if lacking:
        packages = " ".join(sorted(set(lacking.values())))
        raise Unavailable(f"{', '.join(lacking)} missing: apt-get install {packages}")


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


def base_of(store: Store, mirror: str | None, refresh: bool, tree: Path | None) -> Path:
    """The kernel to build against: Debian's, or with the KVM of a tree that the user names."""
    if tree:
        check_tree(tree)
    kernel = kernel_of(store, mirror, refresh)
    return kernel_with_tree(store, kernel, tree) if tree else kernel


def set_up(
    chosen: Path | None,
    mirror: str | None,
    refresh: bool,
    tree: Path | None,
    patches: Sequence[Path],
) -> Iterator[str]:
    """Fill the cache; yields lines that say what is there when it is.

    Raises LiveError and OSError.
    """
    start = time.monotonic()
    check_machine()
    own = read_patches(patches)
    with locked(cache_folder(chosen)) as store:
        kernel = base_of(store, mirror, refresh, tree)
        agent = build_agent(store)
        built: dict[str, dict[str, str]] = {}
        for patch in own:
            # The user's first: whether it applies and compiles is what they wait for.
            modules = build_patched(store, patch, kernel)
            built[patch.name] = entry(store, modules, patch_key(patch)) | {"patch": str(patch.file)}
            yield from said_of(patch.name, changed_by(modules))
        for name in variant_names():
            try:
                modules = build_variant(store, name, kernel)
            except NotApplicable as error:
                if not tree:
                    raise
                yield f"{name}: left out: {error}"
                continue
            built[name] = entry(store, modules, source_key(name))
        contents: dict[str, Any] = {
            "kernel": within(store, kernel),
            "agent": {"file": within(store, agent / "agent"), "source": agent_key()},
            "variants": {name: built[name] for name in in_order(built)},
        }
        before = store.folder / SETUP
        if not before.exists() or json.loads(before.read_text()) != contents:
            store.record(contents)
        names = ", ".join(contents["variants"])
        yield f"ready: {names} in {store.folder} ({time.monotonic() - start:.0f} s)"


def said_of(name: str, changed: Sequence[str]) -> Iterator[str]:
    """What a patch changes, and which of that the machine models."""
    yield f"{name}: changes {', '.join(changed) or 'nothing'}"
    functions = {one: modelled(one) for one in changed if one.isidentifier()}
    if there := [here for here in functions.values() if here]:
        yield f"{name}: modelled, so a variant in Python can replace: {', '.join(there)}"
    if not_there := [one for one, here in functions.items() if not here]:
        yield f"{name}: not modelled: {', '.join(not_there)}"


def modelled(function: str) -> str:
    """The function of the machine that stands for one of KVM's, as one writes it; "" if none."""
    known = machine_functions()
    plain = function.lstrip("_")
    found = (known[name] for name in (plain, f"svm_{plain}", f"vmx_{plain}") if name in known)
    return next((name_of(one) for one in found), "")


def read_patches(files: Sequence[Path]) -> list[KernelPatch]:
    own = [read_patch(file) for file in files]
    taken = set(variant_names())
    for patch in own:
        if patch.name in taken:
            raise LiveError(f"{patch.file}: there is a variant {patch.name} already: rename it")
        taken.add(patch.name)
    return own


def in_order(names: Iterable[str]) -> list[str]:
    """The base first, then the project's variants, then the user's, as they were given."""
    known = variant_names()
    return sorted(names, key=lambda name: (name != BASE, name not in known))


def entry(store: Store, modules: Path, source: str) -> dict[str, str]:
    return {"modules": within(store, modules), "source": source}


def within(store: Store, path: Path) -> str:
    return str(path.relative_to(store.folder))
