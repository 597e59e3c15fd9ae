"""Is anything lost or counted twice by a campaign that is killed and gone on with?

Kills a campaign with SIGKILL at random moments, as often as asked, goes on each time, and holds
what its folder has after each session against what it had before: how many schedules it counts,
its signatures and when each was first seen. Then lets it end. Fails if a process is left.

    python -m bench.kills [--kills N] [--seconds S] [--seed N]
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.campaign.folder import WORK, counts_in

ROOT = Path(__file__).parent.parent
SOON = 60.0
"""Seconds that a process may take to notice that another is gone: machines may be busy."""


class Kept(NamedTuple):
    """What a campaign's folder holds. first: by signature, when it was first seen."""

    schedules: int
    seconds: float
    first: dict[str, dict[str, Any]]
    corpus: frozenset[str]


def kept(out: Path) -> Kept:
    """What is in `out`, whose campaign has ended, however."""
    told = json.loads((out / "campaign.json").read_text())
    counts = counts_in(out / WORK, told["session"]["number"])
    return Kept(
        max(told["schedules"], told["session"]["schedules"] + sum(runs for runs, _ in counts)),
        told["seconds"],
        {one["signature"]: one["first"] for one in told["signatures"]},
        frozenset(path.name for path in (out / "corpus").glob("*/*")),
    )


def command(out: Path, *options: str) -> list[str]:
    """A small campaign's command."""
    chosen = ["--vendor", "svm", "--variants", "original,yadong"]
    return [sys.executable, "-m", "fuzz.cli", "fuzz", "--out", str(out), *chosen, *options]


@contextmanager
def running(out: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """A campaign, which is killed in the end."""
    with subprocess.Popen(
        command(out, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(out: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """A campaign to its end."""
    return subprocess.run(command(out, *options), capture_output=True, text=True, cwd=ROOT)


def commands() -> dict[int, str]:
    """By process that runs, its command line."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It has ended meanwhile.
            if line := (entry / "cmdline").read_text(errors="replace"):
                found[int(entry.name)] = line
    return found


def processes_of(out: Path) -> list[int]:
    """The processes that work in `out`."""
    return [process for process, line in commands().items() if str(out) in line]


def children_of(process: int) -> list[int]:
    """The processes that `process` has started."""
    told = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    return [int(number) for line in told for number in line.split()]


def wait_until(gone: Callable[[], bool]) -> None:
    """Wait until processes are gone. Raises TimeoutError."""
    end = time.monotonic() + SOON
    while not gone():
        if time.monotonic() > end:
            raise TimeoutError("processes are left")
        time.sleep(0.05)


def wait_until_alone(out: Path) -> None:
    """Wait until no process works in `out`. Raises TimeoutError."""
    wait_until(lambda: not processes_of(out))


def kill_after(out: Path, seconds: float, number: signal.Signals = signal.SIGKILL) -> None:
    """Begin a session in `out`, or go on, and kill its parent process after some seconds."""
    with running(out, "--resume", "--time", "600") as process:
        time.sleep(seconds)
        os.kill(process.pid, number)
        process.communicate()
    wait_until_alone(out)


def lost(before: Kept, after: Kept) -> list[str]:
    """What the session after `before` should have kept and has not, a line each."""
    wrong = []
    if after.schedules < before.schedules or after.seconds < before.seconds:
        wrong.append(f"counted {after.schedules} after {before.schedules} schedules")
    for name, first in before.first.items():
        if after.first.get(name) != first:
            wrong.append(f"{name}: first seen {first}, now {after.first.get(name)}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.kills")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8.0, help="at most, to a kill (8)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw, wrong = random.Random(options.seed), list[str]()
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        out = Path(folder) / "campaign"
        run(out, "--time", "3")
        for number in range(options.kills):
            before = kept(out)
            kill_after(out, draw.uniform(0.1, options.seconds))
            wrong += [f"kill {number}: {line}" for line in lost(before, kept(out))]
        before = kept(out)
        ended = run(out, "--resume", "--time", "5")
        wrong += [f"at the end: {line}" for line in lost(before, kept(out))]
        wrong += [f"at the end: {ended.stderr.strip()}"] if ended.returncode != 1 else []
        told = json.loads((out / "campaign.json").read_text())
        counted = before.schedules == told["session"]["schedules"]
        wrong += [] if counted else ["the last session did not begin where the one before ended"]
        left = len(list((out / WORK).glob("*.json")))
        wrong += [f"{left} inputs were not taken in"] if left else []
    after = f"{told['schedules']:,} schedules, {len(told['signatures'])} signatures"
    print(f"{options.kills} kills, {after}: {len(wrong)} faults")
    print("".join(f"  {line}\n" for line in wrong), end="")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
