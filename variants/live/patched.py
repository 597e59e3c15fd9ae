"""KVM with a user's patch: its modules, and what the patch changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, progress
from variants.live.changes import changed_functions
from variants.live.kbuild import build_modules, compiled
from variants.live.patches import KernelPatch, apply_patch, patch_json, patch_key, read_json
from variants.variant import machine_functions, name_of

CHANGED: Final = "changed"
KEPT: Final = "patch.json"


def build_patched(store: Store, patch: KernelPatch, kernel: Path) -> Path:
    """The folder of the modules of `kernel` with the patch, and the patch itself."""

    def change(tree: Path, folder: Path) -> None:
        progress(f"{patch.name}: applying {patch.file.name}")
        files, left_out = apply_patch(patch, tree, store.log(f"patch-{patch.name}"))
        functions = changed_functions(compiled(store, kernel), tree, files)
        changed = functions + [f"(left out: {file})" for file in left_out]
        (folder / CHANGED).write_text("".join(f"{line}\n" for line in changed))
        (folder / KEPT).write_text(patch_json(patch))

    # The last part of a series is the series.
    return build_modules(store, patch.name.split("@")[0], kernel, patch_key(patch), change)


def kept_patch(modules: Path) -> KernelPatch:
    """The patch that modules were built with."""
    return read_json((modules / KEPT).read_text())


def said_of(name: str, modules: Path) -> Iterator[str]:
    """What a patch changes, and which of that the machine models."""
    changed = (modules / CHANGED).read_text().splitlines()
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
