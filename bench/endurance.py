"""Is a campaign the same after an hour as after a few minutes?

Runs `eventdiff fuzz --mix`, samples what its processes hold, and compares the end with what came
after warm-up: memory, processes, open files, files on disk, schedules a second. Other work on the
machine takes processor time away, so the rate is also told by processor second.

    python -m bench.endurance [--minutes M] [--svg FILE] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from bench.kills import ROOT, processes_of
from bench.plots import add_svg, save, subplots
from fuzz.campaign.folder import WORK, counts_in

EVERY: Final = 10.0
"""Seconds from sample to sample."""
WINDOW: Final = 0.1
"""What share of the time is warm-up, and is compared at either end."""
FUZZER: Final = "fuzz.campaign.target"
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
TICKS: Final = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    """What a campaign holds. seconds: since it began. memory: MB resident, of all processes.
    largest: of the largest one. handles: files that its processes have open. files: in its folder.
    disk: MB that they take. schedules: run so far. processor: seconds its fuzzers have used."""

    seconds: float
    processes: int
    memory: float
    largest: float
    handles: int
    files: int
    disk: float
    schedules: int
    processor: float


FLAT: Final = ("processes", "memory", "largest", "handles", "files", "disk")
"""What should not grow after warm-up."""


def sample(out: Path, began: float) -> Sample:
    """What the campaign in `out` holds now."""
    memory, handles, processor = [0.0], 0, 0.0
    for pid in processes_of(out):
        entry = Path("/proc", str(pid))
        with suppress(OSError):  # If it has ended meanwhile.
            times = (entry / "stat").read_text().rpartition(")")[2].split()
            if FUZZER in (entry / "cmdline").read_text():
                processor += (int(times[11]) + int(times[12])) / TICKS
            handles += len(list((entry / "fd").iterdir()))
            memory.append(int((entry / "statm").read_text().split()[1]) * PAGE / 1e6)
    sizes = list(sizes_in(out))
    return Sample(
        round(time.monotonic() - began, 1),
        len(memory) - 1,
        round(sum(memory), 1),
        round(max(memory), 1),
        handles,
        len(sizes),
        round(sum(sizes) / 1e6, 2),
        sum(runs for runs, _ in counts_in(out / WORK, 1)),
        round(processor, 2),
    )


def sizes_in(out: Path) -> Iterator[int]:
    """The size of each file in `out`."""
    for folder, _, names in os.walk(out):
        for name in names:
            with suppress(FileNotFoundError):
                yield Path(folder, name).stat().st_size


def run(seconds: int) -> list[Sample]:
    """A campaign as a user runs it, sampled until it begins to end."""
    samples = list[Sample]()
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        out = Path(folder) / "campaign"
        command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--mix", "--seed", "1"]
        command += ["--time", str(seconds), "--out", str(out)]
        began = time.monotonic()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and time.monotonic() - began < seconds:
                time.sleep(EVERY)
                samples.append(sample(out, began))
    return samples


def rate(before: Sample, after: Sample, column: str) -> float:
    """Schedules a second in between. column: of which seconds."""
    lasted: float = getattr(after, column) - getattr(before, column)
    return (after.schedules - before.schedules) / lasted


def rates(samples: Sequence[Sample], apart: int, column: str) -> list[float]:
    """Schedules a second between samples so far `apart`."""
    pairs = zip(samples, samples[apart:], strict=False)
    return [rate(before, after, column) for before, after in pairs]


def summary(samples: Sequence[Sample]) -> str:
    """The end against what came after warm-up, and the lowest rate against the first."""
    span = max(1, round(len(samples) * WINDOW))
    lines = [f"{samples[-1].seconds:.0f} s; the most in the second and in the last {WINDOW:.0%}"]
    for name in FLAT:
        values = [getattr(one, name) for one in samples]
        early, late = max(values[span : 2 * span]), max(values[-span:])
        lines.append(f"  {name:10}{early:12,.1f} {late:12,.1f}   {late / early:.2f}")
    lines.append(f"schedules a second in the first and in the slowest {WINDOW:.0%}")
    for column in ("seconds", "processor"):
        first, *others = rates(samples, span, column)[::span]
        low = min(others)
        lines.append(f"  of {column:10}{first:9,.0f} {low:12,.0f}   {low / first:.2f}")
    return "\n".join(lines)


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Memory, files, processes and rates over the minutes."""
    figure, axes = subplots(3, 1, figsize=(9, 8), sharex=True)
    minutes = [one.seconds / 60 for one in samples]
    for chart, names in zip(axes, (FLAT[1:3], ("processes", "handles", "files")), strict=False):
        for name in names:
            chart.plot(minutes, [getattr(one, name) for one in samples], label=name, linewidth=1)
    a_minute = round(60 / EVERY)
    for column in ("seconds", "processor"):
        speeds = rates(samples, a_minute, column)
        axes[2].plot(minutes[a_minute:], speeds, label=f"of {column}", linewidth=1)
    axes[0].set_ylabel("MB resident")
    axes[1].set_yscale("log")
    axes[1].set_ylabel("how many")
    axes[2].set_ylabel("schedules a second")
    axes[2].set_xlabel("minutes")
    for chart in axes:
        chart.set_ylim(bottom=1 if chart is axes[1] else 0)
        chart.grid(alpha=0.3)
        chart.legend(loc="lower right")
    figure.tight_layout()
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.endurance")
    parser.add_argument("--minutes", type=int, default=60, help="(60)")
    add_svg(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the samples")
    options = parser.parse_args()
    samples = run(60 * options.minutes)
    if options.json:
        options.json.write_text(json.dumps([one._asdict() for one in samples]))
    print(summary(samples))
    if options.svg:
        plot(samples, options.svg)


if __name__ == "__main__":
    main()
