"""Build the package, install it as a user does, and run what is installed. No network."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml")
FOLDERS = ("bench", "corpus", "fuzz", "tests", "variants")


def call(*command: str | Path) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def sources(folder: Path) -> Path:
    """A copy of the checkout: builds leave things behind, and find what others left."""
    copy = folder / "source"
    copy.mkdir()
    for name in PARTS:
        shutil.copy(ROOT / name, copy)
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    return copy


def build(folder: Path) -> Path:
    """The folder of an sdist, and of a wheel made of that and not of the checkout."""
    call(
        *(sys.executable, "-m", "build", "--no-isolation"),
        *("--outdir", folder / "dist", sources(folder)),
    )
    return folder / "dist"


def install(wheel: Path, folder: Path) -> Path:
    """The folder of programs of a new venv with `wheel`; what it needs is the running Python's."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    call(
        *(sys.executable, "-m", "pip", "--python", python, "install"),
        *("--no-index", "--no-deps", wheel),
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    # A folder on the path is not a site folder: the checkout that is installed there stays out.
    (packages / "needed.pth").write_text(sysconfig.get_path("platlib") + "\n")
    return folder / "bin"


def run_in(
    folder: Path, program: Path, *arguments: str | Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run an installed program in `folder`; nothing of the checkout is on its path."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=plain | environment,
    )
