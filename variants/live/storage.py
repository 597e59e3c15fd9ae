"""How large the cache is, and what of it goes: nothing that is set up."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, locked
from variants.live.cache import cache_folder
from variants.live.debian import ABOUT
from variants.live.emulator import LiveError
from variants.live.entries import SETUP, Entry, Setup, canonical, read_setup, setup_text
from variants.live.inside import instrumented_place
from variants.live.semantic import BASE

LIMIT_MB: Final = 2000
"""Megabytes of the cache up to which it keeps what nothing that is set up uses any more."""
TREES: Final = "trees"
"""The folder in which trees are built, each in one of its own."""


def megabytes(folders: Iterable[Path]) -> int:
    """The size of all files in the folders, in millions of bytes."""
    total = 0
    for folder in folders:
        for where, _, files in os.walk(folder):
            total += sum(Path(where, file).lstat().st_size for file in files)
    return total // 1_000_000


def used(folder: Path, setup: Setup) -> set[Path]:
    """The folders of the cache that what is set up needs."""
    entries = setup.variants.values()
    names = {setup.agent, setup.bochs}
    for name, entry in setup.variants.items():
        twin = instrumented_place(folder, name, Path(entry.modules).name)
        if twin.exists():
            names.add(str(twin.relative_to(folder)))
    names |= {path for one in entries for path in (one.kernel, one.modules)}
    found: set[Path] = set()
    while names:
        name = names.pop()
        if not name:
            continue
        place = folder.joinpath(*Path(name).parts[:2])
        found.add(place)
        if (place / ABOUT).exists():
            about = json.loads((place / ABOUT).read_text())
            names |= {about.get("libraries", ""), about.get("kernel", "")}
    return found


def bound(store: Store, setup: Setup) -> str:
    """Remove what nothing uses, the oldest first, until the cache is small enough; what it is now.

    Finished trials are kept: they are a line each.
    """
    kept = used(store.folder, setup)
    idle = [
        place
        for place in (store.folder / "store").iterdir()
        if place not in kept and not place.name.startswith("trial-")
    ]
    size, unused = megabytes([store.folder]), megabytes(idle)
    for place in sorted(idle, key=lambda one: one.stat().st_mtime):
        if size <= LIMIT_MB:
            break
        freed = megabytes([place])
        shutil.rmtree(place)
        size, unused = size - freed, unused - freed
    return (
        f"cache: {size} MB in {store.folder}, {unused} MB of it used by nothing that is set up "
        f"(such is removed, oldest first, beyond {LIMIT_MB} MB in all)"
    )


def remove(chosen: Path | None, names: Iterable[str]) -> str:
    """Forget variants that were set up, and free what only they used; says how large the cache is.

    Raises LiveError if there is no such variant, or others are built on it.
    """
    with locked(cache_folder(chosen)) as store:
        setup = read_setup(store.folder)
        going = with_parts(setup, names)
        left = {name: entry for name, entry in setup.variants.items() if name not in going}
        for name, entry in left.items():
            if entry.on in going:
                raise LiveError(f"{name} is built on {entry.on}: remove it first, or with it")
        after = Setup(setup.agent, setup.agent_key, setup.bochs, left)
        store.record(SETUP, setup_text(after))
        for place in used(store.folder, setup) - used(store.folder, after):
            shutil.rmtree(place, ignore_errors=True)
        for name, entry in going.items():
            if entry.tree:
                shutil.rmtree(store.folder / TREES / name, ignore_errors=True)
        return bound(store, after)


def with_parts(setup: Setup, names: Iterable[str]) -> dict[str, Entry]:
    """The variants named, and the parts (`mine@1`) of those that are series."""
    going: dict[str, Entry] = {}
    for name in map(canonical, names):
        entry = setup.variants.get(name)
        if not entry:
            raise LiveError(f"no live variant {name!r}, only {', '.join(setup.variants)}")
        if name == BASE or (entry.on and not entry.patch):
            raise LiveError(f"{name} is the project's own: it stays")
        going[name] = entry
        going |= {one: of for one, of in setup.variants.items() if one.startswith(f"{name}@")}
    return going
