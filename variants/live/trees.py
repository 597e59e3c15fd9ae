"""A Linux tree that the user names: its KVM on Debian's kernel of that version, or built whole."""

import json
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, key_of, progress
from variants.live.debian import ABOUT, fetch_kernel
from variants.live.emulator import LiveError, Unavailable
from variants.live.kbuild import HEADERS, SOURCES, copy_source, header_source, source_files
from variants.live.offers import Offer, newest
from variants.live.patches import NAME
from variants.live.whole import build_whole, check_tree, tree_version

FOLDERS: Final = ("include", "arch/x86/include")
BY_LINK: Final = ("vmlinuz", "irqbypass.ko", "headers")


def kernel_of_tree(
    store: Store, name: str, tree: Path, offers: Callable[[], Sequence[Offer]]
) -> Path:
    """The kernel's folder of a tree as it is now.

    Debian's kernel of that very version, with the KVM of the tree, if there is one whose other
    headers are the tree's; else the tree's own. Raises LiveError, and Unavailable.
    """
    check_tree(tree)
    kernel = debian_kernel(store, tree_version(tree), offers)
    if kernel:
        other = other_headers(header_source(kernel), tree)
        if not other:
            return with_kvm_of(store, name, kernel, tree)
        progress(f"{tree}: {other[0]} is not that of Debian's kernel: building the tree whole")
    return build_whole(store, name, tree)


def debian_kernel(store: Store, version: str, offers: Callable[[], Sequence[Offer]]) -> Path | None:
    """Debian's kernel of a version of Linux, from the cache or the mirror; None if neither has it,
    or the mirror cannot be reached."""
    there = [kernel for kernel in store.named(f"linux-{version}") if (kernel / "headers").exists()]
    if there:
        return there[0]
    try:
        fitting = [one for one in newest(offers()) if one.build and one.upstream == version]
    except Unavailable as error:
        progress(f"no kernel of Debian's: {error}")
        return None
    return fetch_kernel(store, fitting[0]) if fitting else None


def other_headers(headers: Path, tree: Path) -> list[str]:
    """The headers in which a tree differs from Debian's, besides KVM's own."""
    files = (file for folder in FOLDERS for file in sorted((headers / folder).rglob("*.h")))
    found = []
    for file in files:
        name = str(file.relative_to(headers))
        if any(fnmatch(name, pattern) for pattern in HEADERS):
            continue
        own = tree / name
        if not own.is_file() or own.read_bytes() != file.read_bytes():
            found.append(name)
    return found


def with_kvm_of(store: Store, name: str, kernel: Path, tree: Path) -> Path:
    """`kernel` with the KVM of `tree`, as it is now."""
    files = source_files(tree, (*SOURCES, *HEADERS))
    contents = [part for file in files for part in (str(file.relative_to(tree)), file.read_bytes())]

    def make(folder: Path) -> None:
        progress(f"taking KVM's source from {tree}")
        copy_source(tree, tree, folder / "source")
        for part in BY_LINK:
            (folder / part).symlink_to(Path("..", kernel.name, part))
        about = json.loads((kernel / ABOUT).read_text())
        (folder / ABOUT).write_text(json.dumps(about | {"kernel": store.within(kernel)}) + "\n")

    return store.artefact(f"tree-{name}-{key_of(kernel.name, *contents)}", make)


def tree_name(tree: Path) -> str:
    """What the variant of a tree is called: as its folder is."""
    name = tree.resolve().name
    if not NAME.fullmatch(name):
        raise LiveError(f"{tree}: a variant cannot be named {name!r}: rename the folder")
    return name
