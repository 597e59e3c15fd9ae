"""A variant's `kvm.ko`, `kvm-amd.ko` and `kvm-intel.ko`, and the agent, from their sources."""

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, execute, key_of, progress
from variants.live.emulator import LiveError
from variants.live.patches import KVM, KernelPatch, apply_patch

BASE: Final = "original"
"""The variant without a semantic patch."""
VARIANTS: Final = Path(__file__).parent.parent
AGENT: Final = Path(__file__).parent / "agent"
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
CHANGED_FUNCTION: Final = re.compile(r"^ (\w+)\(.*\)$", re.MULTILINE)
TOP_LEVEL: Final = re.compile(r"^[A-Za-z_][^=;]*?\b(\w+)\(")


class NotApplicable(LiveError):
    """A variant's semantic patch does not fit the source."""


def variant_names() -> list[str]:
    return sorted(model.parent.name for model in VARIANTS.glob("*/model.py"))


def semantic_patch(name: str) -> str:
    """The variant's change of the real source; empty for the base, which changes nothing.

    Raises LiveError if any other has none: its build would be the base's under another name.
    """
    if name == BASE:
        return ""
    file = script(name)
    text = file.read_text() if file.exists() else ""
    if not text:
        raise LiveError(f"{file}: missing or empty: variant {name} has no semantic patch")
    return text


def script(name: str) -> Path:
    return VARIANTS / name / "kernel.cocci"


def source_key(name: str) -> str:
    return key_of(semantic_patch(name), FLAGS)


def patch_key(patch: KernelPatch) -> str:
    return key_of(patch.text.encode(errors="surrogateescape"), FLAGS)


def agent_key() -> str:
    return key_of(*(file.name + file.read_text() for file in sorted(AGENT.glob("*.[chS]"))))


def compiler() -> str:
    return execute(["gcc", "--version"]).splitlines()[0]


def functions(text: str) -> dict[str, str]:
    """A C file cut up at its functions: name to text (declarations and what follows included)."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        match = TOP_LEVEL.match(line)
        name = match[1] if match else name
        found[name] = found.get(name, "") + line + "\n"
    return found


def changed_functions(before: Path, after: Path, files: Iterable[str]) -> list[str]:
    """The functions in which two trees differ in `files`; the file where it is none.

    A function that moves to another of `files` is none, unless it differs there.
    """
    files = list(files)
    one, other = all_functions(before, files), all_functions(after, files)
    return [name for name in one | other if one.get(name) != other.get(name)]


def all_functions(tree: Path, files: Iterable[str]) -> dict[str, list[str]]:
    """The functions of those of `files` that are there, by name; several may have the same."""
    found: dict[str, list[str]] = {}
    for file in files:
        if (tree / file).exists():
            for name, text in functions((tree / file).read_text(errors="replace")).items():
                found.setdefault(name or file, []).append(text)
    return {name: sorted(texts) for name, texts in found.items()}


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


def transform(store: Store, name: str, source: Path, tree: Path) -> list[str]:
    """Apply the variant's semantic patch to KVM's source; it must change what it names, no more."""
    patch = semantic_patch(name)
    if not patch:
        return []
    progress(f"{name}: applying {script(name).name}")
    command: list[str | Path] = [
        "spatch",
        "--sp-file",
        script(name),
        "--no-includes",
        "--in-place",
        "--dir",
        tree / KVM,
    ]
    try:
        execute(command, store.log(f"spatch-{name}"))
    except LiveError as error:
        raise NotApplicable(str(error)) from None
    meant = set(CHANGED_FUNCTION.findall(patch))
    files = sorted(str(file.relative_to(tree)) for file in (tree / KVM).rglob("*.[ch]"))
    changed = changed_functions(source, tree, files)
    if set(changed) != meant:
        odd = ", ".join(sorted(set(changed) ^ meant))
        raise NotApplicable(f"kernel.cocci of {name} does not fit the source: it changes {odd}")
    return changed


def build_variant(store: Store, name: str, kernel: Path) -> Path:
    """The folder of a variant's modules, from its semantic patch."""

    def change(tree: Path) -> list[str]:
        return transform(store, name, kernel / "source", tree)

    return build_modules(store, name, kernel, source_key(name), change)


def build_patched(store: Store, patch: KernelPatch, kernel: Path) -> Path:
    """The folder of the modules that a user's patch makes."""

    def change(tree: Path) -> list[str]:
        progress(f"{patch.name}: applying {patch.file.name}")
        pristine = tree.with_name("pristine")
        shutil.copytree(tree, pristine)
        files, left_out = apply_patch(patch, tree, store.log(f"patch-{patch.name}"))
        functions = changed_functions(pristine, tree, files)
        return functions + [f"(left out: {file})" for file in left_out]

    return build_modules(store, patch.name, kernel, patch_key(patch), change)


def build_modules(
    store: Store, name: str, kernel: Path, key: str, change: Callable[[Path], list[str]]
) -> Path:
    """The folder of the modules of `kernel` after `change`, with the functions that it changed."""

    def make(folder: Path) -> None:
        tree = folder.parent / "tree"
        copy_source(kernel / "source", header_source(kernel), tree)
        (folder / "changed").write_text("".join(f"{line}\n" for line in change(tree)))
        with (tree / KVM / "Makefile").open("a") as makefile:
            makefile.write(FLAGS)
        progress(f"{name}: building {', '.join(MODULES)}")
        command: list[str | Path] = [
            *("make", "-C", kernel / "headers", f"M={tree / KVM}", "CC=gcc", "HOSTCC=gcc"),
            *("CONFIG_KVM_WERROR=", "CONFIG_DEBUG_INFO_BTF_MODULES=", f"-j{os.cpu_count() or 1}"),
            "modules",
        ]
        execute(command, store.log(f"build-{name}"))
        for module in MODULES:
            execute(["strip", "--strip-debug", "-o", folder / module, tree / KVM / module])

    return store.artefact(f"kvm-{name}-{key_of(kernel.name, key, compiler())}", make)


def changed_by(modules: Path) -> list[str]:
    """The functions that a build's change is in."""
    return (modules / "changed").read_text().splitlines()


def build_agent(store: Store, *flags: str) -> Path:
    """The folder of the static program that runs the schedules inside the guest system.

    flags: more of the compiler's, such as -DCOMPARE_MEMORY (see agent/memory.c).
    """

    def make(folder: Path) -> None:
        progress("building the agent")
        stub, flat = folder.parent / "stub.o", folder.parent / "stub.bin"
        execute(["gcc", "-m64", "-c", "-o", stub, AGENT / "stub.S"])
        execute(["ld", "-Ttext=0x100000", "--oformat", "binary", "-o", flat, stub])
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", *flags]
        command.append(f'-DSTUB="{flat}"')
        execute(
            [*command, "-o", folder / "agent", *sorted(AGENT.glob("*.c"))], store.log("build-agent")
        )

    return store.artefact(f"agent-{key_of(agent_key(), compiler(), *flags)}", make)
