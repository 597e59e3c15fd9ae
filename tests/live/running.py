"""Run `eventdiff` as a user does, and see what it leaves behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent.parent
KERNELS = ("6.18",)
"""What tests run on besides the project's own: an image without source."""
SET_UP = ["original", "yadong", "paolo", *(f"linux-{series}" for series in KERNELS)]
SEEDS = ROOT / "corpus" / "seeds"
COMMAND = [sys.executable, "-m", "fuzz.cli"]


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "EVENTDIFF_CACHE": str(cache), "PYTHONPATH": str(ROOT)}


def eventdiff(cache: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(cache),
    )


def start(
    cache: Path, scratch: Path, *arguments: str | Path, stdout: int | IO[str] = subprocess.PIPE
) -> "subprocess.Popen[str]":
    """Start `eventdiff` with its scratch folders in `scratch`.

    Ctrl-C works there even if it does not here, as in a shell's background jobs.
    """
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**environment(cache), "TMPDIR": str(scratch)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(
    what: Callable[[], bool], seconds: float = 60, run: "subprocess.Popen[str] | None" = None
) -> None:
    """Wait until it is so, for as long as `run`, which is to bring it about, goes on."""
    end = time.monotonic() + seconds
    while not what():
        assert run is None or run.poll() is None, run.communicate()
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def processes_in(folder: Path) -> list[int]:
    """The processes that work in `folder` or below, other than those that have ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = (process / "cwd").readlink()
        except OSError:
            continue
        if where == folder or folder in where.parents:
            found.append(int(process.name))
    return found
