"""Programs of another release of Debian, run with the libraries of that release."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from variants.live.apt import Suite
from variants.live.artefacts import Store, execute, key_of, progress

LOADER: Final = "ld-linux-x86-64.so.2"
LIBRARIES: Final = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
TOO_OLD: Final = "not found (required by"
ELF: Final = b"\x7fELF"
WRAPPER: Final = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
root="$here/{root}"
exec "$root/{loader}" --library-path "{libraries}" "$here/{program}" "$@"
"""


def unpacked(
    store: Store, suite: Suite, name: str, packages: Sequence[str], keep: Sequence[str] = ()
) -> Path:
    """A folder of the cache with the libraries of the packages and of all that they need.

    keep: the files and folders that it has besides, as paths in it.
    """
    needed = suite.closure(packages)

    def unpack(folder: Path) -> None:
        size = sum(package.size for package in needed) // 1_000_000
        progress(f"{name}: {len(needed)} packages of {suite.name}, {size} MB")
        for deb in suite.download(needed):
            execute(["dpkg-deb", "-x", deb, folder])
            deb.unlink()
        remove_rest(folder, [folder / part for part in (*LIBRARIES, *keep)])

    key = key_of(*(package.digest for package in needed), *keep)
    return store.artefact(f"{name}-{key}", unpack)


def remove_rest(folder: Path, keep: Sequence[Path]) -> None:
    """Remove from `folder` all but the files and folders to keep."""
    for entry in folder.iterdir():
        if entry in keep:
            continue
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink()
        elif any(entry in kept.parents for kept in keep):
            remove_rest(entry, keep)
        else:
            shutil.rmtree(entry)


def loader(root: Path) -> str:
    """The dynamic loader of the libraries unpacked in `root`, as a path within it."""
    return next(f"{part}/{LOADER}" for part in LIBRARIES if (root / part / LOADER).exists())


def command(root: Path, program: str) -> list[str | Path]:
    """How a command line begins that runs a program of `root` with the libraries there."""
    libraries = ":".join(str(root / part) for part in LIBRARIES)
    return [root / loader(root), "--library-path", libraries, root / program]


def runs_here(program: Path) -> bool:
    """Whether this machine's libraries are new enough for a program."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return TOO_OLD not in said.stdout + said.stderr


def strangers(folder: Path) -> list[Path]:
    """The programs under `folder` that this machine's libraries are too old for."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not file.is_symlink()
        and os.access(file, os.X_OK)
        and file.read_bytes()[:4] == ELF
        and not runs_here(file)
    ]


def wrap(program: Path, root: Path, final: Path) -> None:
    """Put a script in the program's place that runs it with the libraries of `root`.

    final: the folder where the program will be; the script finds the libraries from there.
    """
    real = program.with_name(f"{program.name}.wrapped")
    program.rename(real)
    libraries = ":".join(f"$root/{part}" for part in LIBRARIES)
    way = os.path.relpath(root, final)
    program.write_text(
        WRAPPER.format(root=way, loader=loader(root), libraries=libraries, program=real.name)
    )
    program.chmod(0o755)
