"""KVM's modules built from its source, out of the kernel's tree, against the kernel's headers."""

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event
from typing import Final

from variants.live.artefacts import Store, execute, key_of, progress, succeeds
from variants.live.patches import KVM

MODULES: Final = ("kvm.ko", "kvm-amd.ko", "kvm-intel.ko")
SOURCES: Final = tuple(
    f"{part}/**/{name}"
    for part in (KVM, "virt/kvm")
    for name in ("*.[chS]", "Makefile*", "Kconfig")
)
MAKEFILES: Final = tuple(f"{part}/Makefile*" for part in (KVM, "virt/kvm"))
HEADERS: Final = (
    *("arch/x86/include/asm/*.h", "include/linux/kvm*.h", "include/trace/events/kvm.h"),
    *(f"arch/x86/include/uapi/asm/{name}.h" for name in ("kvm*", "svm", "vmx")),
    "include/uapi/linux/kvm*.h",
)
"""Headers that a change of KVM may change; they are found before those of the kernel's build."""
# KVM's trace headers are found relative to the source tree, which is not there out of tree.
FLAGS: Final = """
NOSTDINC_FLAGS += -I$(src) -I$(src)/../../../virt/../arch/x86
NOSTDINC_FLAGS += -I$(src)/../include -I$(src)/../../../include
NOSTDINC_FLAGS += -I$(src)/../include/uapi -I$(src)/../../../include/uapi
"""
# Later kernels' makefiles look for KVM's own files in the kernel's tree, where headers have none.
IN_KERNEL_TREE: Final = (
    ("$(srctree)/arch/x86/kvm", "$(src)"),
    ("$(srctree)/virt/kvm", "$(src)/../../../virt/kvm"),
)
# A warning stops no build of another compiler than the kernel's; BTF would need its `vmlinux`.
SETTINGS: Final = ("CONFIG_KVM_WERROR=", "CONFIG_WERROR=", "CONFIG_DEBUG_INFO_BTF_MODULES=")
COMPILER_FLAGS: Final = {"CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT": "-fmin-function-alignment=16"}
"""Flags that a configuration says its compiler has, and KVM's build then uses."""
RECIPE: Final = repr((FLAGS, IN_KERNEL_TREE, SETTINGS, COMPILER_FLAGS))
# Modules are stripped of it: the same without, in three quarters of the time.
NO_DEBUG: Final = "CONFIG_DEBUG_INFO="
NAMING_PLACES: Final = ("*.cmd", "*.mod", "modules.order", "Module.symvers")
"""Files of a build that name the folder it was made in."""
ANYWHERE: Final = b"@TREE@"
"""Stands in them for that folder while objects are kept."""


def compiler() -> str:
    return execute(["gcc", "--version"]).splitlines()[0]


def copy_source(origin: Path, headers: Path, tree: Path) -> None:
    """Put KVM's source from `origin`, and the headers it may change, into the new folder `tree`."""
    for root, patterns in ((origin, SOURCES), (headers, HEADERS)):
        for file in source_files(root, patterns):
            target = tree / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def source_files(root: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted(file for pattern in patterns for file in root.glob(pattern))


def header_source(kernel: Path) -> Path:
    """Where the headers of a kernel in the cache are: its source has them, or Debian's package."""
    if (kernel / "source/include").is_dir():
        return kernel / "source"
    return next((kernel / "headers").resolve().parent.glob("linux-headers-*-common"))


def lacking_flags(headers: Path) -> list[str]:
    """Settings for make that take back what the kernel's compiler had and this one has not."""
    config = (headers / ".config").read_text()
    return [
        f"{name}="
        for name, flag in COMPILER_FLAGS.items()
        if re.search(f"^{name}=y$", config, re.MULTILINE)
        and not succeeds(["gcc", flag, "-E", "-x", "c", os.devnull])
    ]


def fit_makefiles(tree: Path) -> None:
    """Let KVM's makefiles find in `tree` what they look for in the kernel's."""
    for makefile in source_files(tree, MAKEFILES):
        text = makefile.read_text()
        for there, here in IN_KERNEL_TREE:
            text = text.replace(there, here)
        makefile.write_text(text + (FLAGS if makefile.parent == tree / KVM else ""))


def build_modules(
    store: Store, name: str, kernel: Path, key: str, change: Callable[[Path, Path], None]
) -> Path:
    """The folder of the modules of `kernel` after `change`.

    kernel: a folder with `source` and `headers`. key: what the change is known by. change: given
    KVM's source, to be changed, and the folder that the modules will be in.
    """

    def make(folder: Path) -> None:
        objects = compiled(store, kernel)
        progress(f"{name}: building {', '.join(MODULES)}")
        make_changed(
            kernel, objects, folder, change, os.cpu_count() or 1, store.log(f"build-{name}")
        )

    return store.artefact(f"kvm-{name}-{build_key(kernel, key)}", make)


def build_key(kernel: Path, key: str) -> str:
    """What modules are known by: the kernel, the change, how and with what they are built."""
    return key_of(kernel.name, key, RECIPE, compiler())


def make_changed(
    kernel: Path,
    objects: Path,
    folder: Path,
    change: Callable[[Path, Path], None],
    jobs: int,
    log: Path | None = None,
    stop: Event | None = None,
) -> None:
    """Put the modules of `kernel` after `change` into `folder`, which has a scratch folder's place.

    objects: of `compiled`. Only what the change is about is compiled. stop: ends it from elsewhere.
    """
    tree = folder.parent / "tree"
    shutil.copytree(objects, tree)
    rename_places(tree, ANYWHERE, os.fsencode(tree))
    before = headers_in(tree)
    change(tree, folder)
    if headers_in(tree) - before:
        # One may be found now in place of a header that objects were made with.
        for command in tree.rglob("*.cmd"):
            command.unlink()
    fit_makefiles(tree)
    make_modules(kernel, tree, jobs, log, stop)
    for module in MODULES:
        execute(["strip", "--strip-debug", "-o", folder / module, tree / KVM / module])


def compiled(store: Store, kernel: Path) -> Path:
    """KVM's source of `kernel`, unchanged, and the objects that it makes."""

    def make(folder: Path) -> None:
        tree = folder / "tree"
        copy_source(kernel / "source", header_source(kernel), tree)
        fit_makefiles(tree)
        progress(f"compiling KVM of {kernel.name}")
        make_modules(kernel, tree, os.cpu_count() or 1, store.log("build-objects"))
        for makefile in source_files(kernel / "source", MAKEFILES):
            shutil.copy(makefile, tree / makefile.relative_to(kernel / "source"))
        rename_places(tree, os.fsencode(tree), ANYWHERE)

    return store.artefact(f"objects-{build_key(kernel, NO_DEBUG)}", make) / "tree"


def make_modules(
    kernel: Path, tree: Path, jobs: int, log: Path | None, stop: Event | None = None
) -> None:
    headers = kernel / "headers"
    command: list[str | Path] = [
        *("make", "-C", headers, f"M={tree / KVM}", "CC=gcc", "HOSTCC=gcc"),
        *(*SETTINGS, NO_DEBUG, *lacking_flags(headers), f"-j{jobs}", "modules"),
    ]
    execute(command, log, stop=stop)


def rename_places(tree: Path, old: bytes, new: bytes) -> None:
    """Let a build that was made in one folder be in another; make is to see nothing changed."""
    for file in source_files(tree, [f"**/{name}" for name in NAMING_PLACES]):
        times = file.stat()
        file.write_bytes(file.read_bytes().replace(old, new))
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def headers_in(tree: Path) -> set[Path]:
    return {file.relative_to(tree) for file in tree.rglob("*.h")}
