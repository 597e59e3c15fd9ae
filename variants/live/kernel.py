"""A variant's `kvm.ko`, `kvm-amd.ko` and `kvm-intel.ko`, and the agent, from their sources."""

import os
import re
import shutil
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, execute, key_of, progress
from variants.live.emulator import LiveError

VARIANTS: Final = Path(__file__).parent.parent
AGENT: Final = Path(__file__).parent / "agent"
KVM: Final = "arch/x86/kvm"
MODULES: Final = ("kvm.ko", "kvm-amd.ko", "kvm-intel.ko")
# KVM's trace headers are found relative to the source tree, which is not there out of tree.
FLAGS: Final = "\nNOSTDINC_FLAGS += -I$(src) -I$(src)/../../../virt/../arch/x86\n"
CHANGED_FUNCTION: Final = re.compile(r"^ (\w+)\(.*\)$", re.MULTILINE)
TOP_LEVEL: Final = re.compile(r"^[A-Za-z_][^=;]*?\b(\w+)\(")


def variant_names() -> list[str]:
    return sorted(model.parent.name for model in VARIANTS.glob("*/model.py"))


def semantic_patch(name: str) -> str:
    """The variant's change of the real source; empty for one that changes nothing."""
    patch = VARIANTS / name / "kernel.cocci"
    return patch.read_text() if patch.exists() else ""


def source_key(name: str) -> str:
    return key_of(semantic_patch(name), FLAGS)


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


def changed_functions(before: Path, after: Path) -> set[str]:
    changed: set[str] = set()
    for old in sorted(before.rglob("*.[ch]")):
        new = after / old.relative_to(before)
        one, other = old.read_text(), new.read_text()
        if one != other:
            ours, theirs = functions(one), functions(other)
            changed |= {name for name in ours | theirs if ours.get(name) != theirs.get(name)}
    return changed


def transform(store: Store, name: str, source: Path, tree: Path) -> None:
    """Apply the variant's semantic patch to KVM's source; it must change what it names, no more."""
    script = VARIANTS / name / "kernel.cocci"
    if not script.exists():
        return
    progress(f"{name}: applying {script.name}")
    command: list[str | Path] = [
        "spatch",
        "--sp-file",
        script,
        "--no-includes",
        "--in-place",
        "--dir",
        tree / KVM,
    ]
    execute(command, store.log(f"spatch-{name}"))
    meant = set(CHANGED_FUNCTION.findall(script.read_text()))
    changed = changed_functions(source / KVM, tree / KVM)
    if changed != meant:
        odd = ", ".join(sorted(changed ^ meant))
        raise LiveError(f"{name}: kernel.cocci changed other functions than it names: {odd}")


def build_modules(store: Store, name: str, kernel: Path) -> Path:
    """The folder of the variant's modules."""
    key = key_of(kernel.name, source_key(name), compiler())

    def make(folder: Path) -> None:
        tree = folder.parent / "tree"
        shutil.copytree(kernel / "source", tree)
        transform(store, name, kernel / "source", tree)
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

    return store.artefact(f"kvm-{name}-{key}", make)


def build_agent(store: Store) -> Path:
    """The folder of the static program that runs the schedules inside the guest system."""

    def make(folder: Path) -> None:
        progress("building the agent")
        stub, flat = folder.parent / "stub.o", folder.parent / "stub.bin"
        execute(["gcc", "-m64", "-c", "-o", stub, AGENT / "stub.S"])
        execute(["ld", "-Ttext=0x100000", "--oformat", "binary", "-o", flat, stub])
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", f'-DSTUB="{flat}"']
        execute(
            [*command, "-o", folder / "agent", *sorted(AGENT.glob("*.c"))], store.log("build-agent")
        )

    return store.artefact(f"agent-{key_of(agent_key(), compiler())}", make)
