"""KVM's modules built from its source, out of the kernel's tree, against the kernel's headers."""

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, execute, key_of, progress, succeeds
from variants.live.patches import KVM

MODULES: Final = ("kvm.ko", "kvm-amd.ko", "kvm-intel.ko")
SOURCES: Final = tuple(
    f"{part}/**/{name}"
    for part in (KVM, "virt/kvm")
    for name in ("*.[chS]", "Makefile*", "Kconfig")
)
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
    for makefile in source_files(tree, [f"{part}/Makefile*" for part in (KVM, "virt/kvm")]):
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
        tree = folder.parent / "tree"
        copy_source(kernel / "source", header_source(kernel), tree)
        change(tree, folder)
        fit_makefiles(tree)
        progress(f"{name}: building {', '.join(MODULES)}")
        headers = kernel / "headers"
        command: list[str | Path] = [
            *("make", "-C", headers, f"M={tree / KVM}", "CC=gcc", "HOSTCC=gcc"),
            *(*SETTINGS, *lacking_flags(headers), f"-j{os.cpu_count() or 1}", "modules"),
        ]
        execute(command, store.log(f"build-{name}"))
        for module in MODULES:
            execute(["strip", "--strip-debug", "-o", folder / module, tree / KVM / module])

    return store.artefact(f"kvm-{name}-{key_of(kernel.name, key, RECIPE, compiler())}", make)
