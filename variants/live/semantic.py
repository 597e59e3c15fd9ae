"""The project's variants: their semantic patches, applied to the kernel's real source."""

import re
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, execute, key_of, progress
from variants.live.changes import changed_functions
from variants.live.emulator import LiveError
from variants.live.kbuild import RECIPE, build_modules
from variants.live.patches import KVM

BASE: Final = "original"
"""The variant without a semantic patch."""
VARIANTS: Final = Path(__file__).parent.parent
CHANGED_FUNCTION: Final = re.compile(r"^ (\w+)\(.*\)$", re.MULTILINE)


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
    return key_of(semantic_patch(name), RECIPE)


def transform(store: Store, name: str, source: Path, tree: Path) -> None:
    """Apply the variant's semantic patch to KVM's source; it must change what it names, no more."""
    patch = semantic_patch(name)
    if not patch:
        return
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
    execute(command, store.log(f"spatch-{name}"))
    meant = set(CHANGED_FUNCTION.findall(patch))
    files = sorted(str(file.relative_to(source)) for file in (source / KVM).rglob("*.[ch]"))
    changed = changed_functions(source, tree, files)
    if set(changed) != meant:
        odd = ", ".join(sorted(set(changed) ^ meant))
        raise LiveError(f"kernel.cocci of {name} does not fit the source: it changes {odd}")


def build_variant(store: Store, name: str, kernel: Path) -> Path:
    """The folder of a variant's modules, from its semantic patch."""

    def change(tree: Path, _: Path) -> None:
        transform(store, name, kernel / "source", tree)

    return build_modules(store, name, kernel, source_key(name), change)
