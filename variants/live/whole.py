"""Any Linux tree since 5.10, built whole outside of it, with a small configuration of ours."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, execute, key_of, progress
from variants.live.debian import ABOUT
from variants.live.emulator import LiveError, Unavailable
from variants.live.kbuild import HEADERS, MODULES, SOURCES, copy_source, source_files
from variants.live.patches import KVM

VERSION: Final = re.compile(
    r"^(?:VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[^\S\n]*=[^\S\n]*(.*)$", re.MULTILINE
)
OLDEST: Final = (5, 10)
FRAGMENT: Final = Path(__file__).with_name("tree.config")
OPTIONAL: Final = "# Where the kernel has them:\n"
OPTION: Final = re.compile(r"^(?:# )?(CONFIG_\w+)(?:=(.+)| is not set)$", re.MULTILINE)
TOOLS: Final = ("bc", "bison", "flex")
"""What a whole build takes besides what modules take; packages of the same names."""
IMAGE: Final = "arch/x86/boot/bzImage"
IRQBYPASS: Final = "virt/lib/irqbypass.ko"
BUILT_IN_PLACE: Final = (".config", "include/config", "arch/x86/include/generated")
# Nothing in the image says when, where or how often it was built, so its contents name it.
SETTINGS: Final = (
    *("CC=gcc", "HOSTCC=gcc", "LOCALVERSION=", "KBUILD_BUILD_VERSION=1"),
    *("KBUILD_BUILD_USER=eventdiff", "KBUILD_BUILD_HOST=eventdiff"),
    "KBUILD_BUILD_TIMESTAMP=2020-01-01 00:00:00 UTC",
)


def build_whole(store: Store, name: str, tree: Path) -> Path:
    """A kernel in the store, from the tree as it is now; nothing is written into the tree.

    The folder holds `vmlinuz`, `irqbypass.ko`, `stock/` (KVM's modules), `source/` (KVM's and the
    headers it may change) and `headers`, a link to the folder that it was built in: `trees/name`
    in the store, where the next call rebuilds what has changed, and against which KVM can be built
    out of tree until then.

    Raises Unavailable if tools are missing, LiveError if the tree cannot be built.
    """
    check_tools()
    check_tree(tree)
    tree = tree.resolve()
    output = store.folder / "trees" / name
    source = source_of(tree)
    with at_work(store, output):
        configure(store, name, tree, output)
        progress(f"building {tree} (some minutes the first time)")
        make(
            tree,
            output,
            store.log(f"tree-{name}"),
            f"-j{os.cpu_count() or 1}",
            "bzImage",
            "modules",
        )
    if source_of(tree) != source:
        raise LiveError(f"{tree} changed while it was built: set up again")
    return collect(store, name, tree, output, source)


def check_tools() -> None:
    lacking = " ".join(tool for tool in TOOLS if not shutil.which(tool))
    if lacking:
        raise Unavailable(f"building a whole kernel needs {lacking}: apt-get install {lacking}")


def check_tree(tree: Path) -> None:
    """Raise LiveError unless `tree` is a Linux that can be built outside of it."""
    version = version_of(tree)
    if version < OLDEST:
        raise LiveError(
            f"{tree} is Linux {dotted(version)}: live runs need {dotted(OLDEST)} or later"
        )
    if any((tree / left).exists() for left in BUILT_IN_PLACE):
        raise LiveError(
            f"{tree} has been built in place: run `make mrproper` there, or name a clean copy "
            "(`git worktree add`)"
        )


def version_of(tree: Path) -> tuple[int, int]:
    """A Linux tree's version and patch level. Raises LiveError if it is none."""
    try:
        text = (tree / "Makefile").read_text(errors="replace")
    except OSError as error:
        raise LiveError(f"{tree}: no Linux tree: {error.strerror}: Makefile") from None
    found = [
        re.search(rf"^{part} = (\d+)$", text, re.MULTILINE) for part in ("VERSION", "PATCHLEVEL")
    ]
    if not found[0] or not found[1] or not (tree / KVM / "x86.c").is_file():
        raise LiveError(f"{tree}: no Linux tree with {KVM}")
    return int(found[0][1]), int(found[1][1])


def tree_version(tree: Path) -> str:
    """The version that a tree's Makefile says it is: 6.12.117, 7.4.0-rc3."""
    one, two, three, extra = VERSION.findall((tree / "Makefile").read_text(errors="replace"))[:4]
    return f"{one}.{two}.{three}{extra}"


def dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def source_of(tree: Path) -> str:
    """A name for the contents of KVM's source and headers."""
    files = source_files(tree, (*SOURCES, *HEADERS))
    return key_of(
        *(part for file in files for part in (str(file.relative_to(tree)), file.read_bytes()))
    )


@contextmanager
def at_work(store: Store, output: Path) -> Iterator[None]:
    """Mark `output` while it is built; if it was when the machine went down, start it anew.

    A make that fails or is interrupted removes what is half written. One that is killed does not,
    and would take it for finished the next time.
    """
    mark = output.with_name(f"{output.name}.at-work")
    if mark.exists() and output.exists():
        progress(f"{output.name}: the last build was killed: building all of it again")
        output.rename(tempfile.mkdtemp(prefix="making-", dir=store.folder))
    output.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        yield
    finally:
        mark.unlink()


def configure(store: Store, name: str, tree: Path, output: Path) -> None:
    """Put the configuration into `output`. Raises LiveError if the tree does not take it all."""
    log = store.log(f"configure-{name}")
    make(tree, output, log, f"KCONFIG_ALLCONFIG={FRAGMENT}", "allnoconfig")
    refused = lost(FRAGMENT.read_text(), (output / ".config").read_text())
    if refused:
        raise LiveError(
            f"{tree}: its Kconfig does not take {', '.join(refused)} as {FRAGMENT.name} asks"
        )


def lost(fragment: str, config: str) -> list[str]:
    """The options of `fragment` that are not in `config` as asked for."""
    there = options(config)
    needed, _, optional = fragment.partition(OPTIONAL)
    return [
        *(one for one, value in options(needed).items() if there.get(one, "n") != value),
        *(one for one, value in options(optional).items() if there.get(one, value) != value),
    ]


def options(config: str) -> dict[str, str]:
    """What a configuration says, by option; `n` of those that are not set."""
    return {found[1]: found[2] or "n" for found in OPTION.finditer(config)}


def make(tree: Path, output: Path, log: Path, *arguments: str) -> None:
    execute(["make", "-s", "-C", tree, f"O={output}", *SETTINGS, *arguments], log)


def collect(store: Store, name: str, tree: Path, output: Path, source: str) -> Path:
    """The kernel that was built in `output`, into the store."""
    image, irqbypass = output / IMAGE, output / IRQBYPASS
    modules = [output / KVM / module for module in MODULES]

    def fill(folder: Path) -> None:
        shutil.copy(image, folder / "vmlinuz")
        (folder / "stock").mkdir()
        for module in modules:
            execute(["strip", "--strip-debug", "-o", folder / "stock" / module.name, module])
        execute(["strip", "--strip-debug", "-o", folder / "irqbypass.ko", irqbypass])
        copy_source(tree, tree, folder / "source")
        for file in (folder / "source").rglob("*"):
            file.chmod(file.stat().st_mode | 0o200)
        (folder / "headers").symlink_to(Path("../../trees", name))
        (folder / ABOUT).write_text(json.dumps({"version": tree_version(tree)}) + "\n")

    contents = [file.read_bytes() for file in (image, irqbypass, *modules)]
    return store.artefact(f"tree-{name}-{key_of(source, *contents)}", fill)
