"""A Linux tree that the user names: its KVM in place of Debian's."""

import re
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, key_of, progress
from variants.live.debian import SERIES
from variants.live.emulator import LiveError
from variants.live.kernel import HEADERS, SOURCES, copy_source, source_files
from variants.live.patches import KVM

VERSION: Final = re.compile(r"^(?:VERSION|PATCHLEVEL) = (\d+)$", re.MULTILINE)


def check_tree(tree: Path) -> None:
    """Raise LiveError unless `tree` can be built against Debian's headers."""
    if not (tree / KVM / "x86.c").is_file():
        raise LiveError(f"{tree}: no kernel tree, it has no {KVM}/x86.c")
    try:
        version = ".".join(VERSION.findall((tree / "Makefile").read_text())[:2])
    except OSError as error:
        raise LiveError(f"{tree / 'Makefile'}: {error.strerror}") from None
    if version != SERIES:
        raise LiveError(f"{tree} is Linux {version}: live variants are built for {SERIES}")


def kernel_with_tree(store: Store, kernel: Path, tree: Path) -> Path:
    """`kernel` with the KVM of `tree`, as it is now."""
    files = source_files(tree, (*SOURCES, *HEADERS))
    contents = [part for file in files for part in (str(file.relative_to(tree)), file.read_bytes())]

    def make(folder: Path) -> None:
        progress(f"taking KVM's source from {tree}")
        copy_source(tree, tree, folder / "source")
        for part in ("vmlinuz", "irqbypass.ko", "headers"):
            (folder / part).symlink_to(Path("..", kernel.name, part))

    return store.artefact(f"tree-{key_of(kernel.name, *contents)}", make)
