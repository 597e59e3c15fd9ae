"""How much of what there is does a fuzzer find, and how fast?

The yardstick is the exhaustive set: every signature `eventdiff explore` finds.
Against it, several seeds each, one core a run, all in one run of this command:

    shipped     what campaigns run: coverage by the outline of a joint vCPU
    state       the same with a counter a joint vCPU
    edge        the same with a counter for an outline and the one after it
    bytecode    Atheris as it comes: bytecode coverage of the models, stepped without memory
    random      schedules drawn evenly from the alphabet
    hypothesis  a Hypothesis state machine

    python -m bench.recall [--seconds S] [--seeds N] [--certificate FILE].. [--svg FILE] [--json]

The set is the union of the certificates'; without --certificate, corpus/exhaustive.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.plots import add_svg, save, subplots
from fuzz.campaign.folder import write_seeds
from variants.machine.step import VENDORS, Vendor

HERE = Path(__file__).resolve().parent.parent
KINDS = ("shipped", "state", "edge", "bytecode", "random", "hypothesis")


class Run(NamedTuple):
    """One fuzzer's run. first: signature to the second and the schedule that first showed it."""

    kind: str
    vendor: Vendor
    schedules: int
    first: dict[str, tuple[float, int]]


def command(kind: str, vendor: Vendor, seconds: int, seed: int, work: Path) -> list[str]:
    """The command that fuzzes `vendor` and writes findings to `work`."""
    common = [sys.executable, "-m", "", "--vendor", vendor, "--findings", str(work)]
    limits = ["--", f"-max_total_time={seconds}", f"-seed={seed}", str(work / "corpus")]
    if kind in ("random", "hypothesis"):
        common[2] = "bench.blind"
        common += ["--seconds", str(seconds), "--seed", str(seed)]
        return [*common, "--hypothesis"] if kind == "hypothesis" else common
    if kind == "bytecode":
        common[2] = "bench.bytecode"
        return [*common, *limits]
    common[2] = "fuzz.campaign.target"
    return [*common, "--coverage", "outline" if kind == "shipped" else kind, *limits]


def fuzz(kind: str, vendor: Vendor, seconds: int, seed: int) -> Run:
    """Run one fuzzer from the seed corpus (blind ones use none)."""
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        work = Path(folder)
        (work / "corpus").mkdir()
        write_seeds(work / "corpus", vendor)
        subprocess.run(
            command(kind, vendor, seconds, seed, work),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            cwd=work,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        first: dict[str, tuple[float, int]] = {}
        for path in work.glob("[0-9]*.json"):
            found = json.loads(path.read_text())
            at = (found["seconds"], found["runs"])
            first[found["signature"]] = min(at, first.get(found["signature"], at))
        counts = [int(path.read_text().split()[0]) for path in work.glob("*.count")]
        return Run(kind, vendor, sum(counts), first)


def exhaustive(certificates: Sequence[Path]) -> set[str]:
    """Every signature there is, by the certificates."""
    claimed = [json.loads(path.read_text()) for path in certificates]
    return {one["signature"] for some in claimed for one in some["signatures"]}


def time_to(run: Run, wanted: set[str], share: float, column: int) -> float | None:
    """When `share` of `wanted` was found: column 0 in seconds, 1 in schedules."""
    times = sorted(at[column] for name, at in run.first.items() if name in wanted)
    needed = round(len(wanted) * share)
    return times[needed - 1] if len(times) >= needed else None


def table(runs: list[Run], wanted: dict[Vendor, set[str]]) -> str:
    """Medians over the seeds, a row per vendor and fuzzer."""
    lines = [
        "| vendor | fuzzer | found | s to 50 % | s to 90 % | s to all | schedules to 90 % |"
        " not in the set |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for vendor, names in wanted.items():
        for kind in dict.fromkeys(run.kind for run in runs):
            some = [run for run in runs if (run.kind, run.vendor) == (kind, vendor)]
            found = median(len(names & run.first.keys()) for run in some)
            marks = [
                middle([time_to(run, names, share, column) for run in some])
                for share, column in ((0.5, 0), (0.9, 0), (1.0, 0), (0.9, 1))
            ]
            beyond = len({name for run in some for name in run.first} - names)
            cells = [vendor, kind, f"{found:.0f} of {len(names)}", *marks, str(beyond)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def middle(values: list[float | None]) -> str:
    """The median; a dash if half or more never got there."""
    there = sorted(float("inf") if value is None else value for value in values)
    value = there[len(there) // 2]
    return "-" if value == float("inf") else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def plot(runs: list[Run], wanted: dict[Vendor, set[str]], path: Path) -> None:
    """Share of the exhaustive set over seconds and over schedules, a line a run."""
    figure, axes = subplots(2, len(wanted), figsize=(9, 6), sharey=True, squeeze=False)
    kinds = list(dict.fromkeys(run.kind for run in runs))
    for place, (vendor, names) in enumerate(wanted.items()):
        for column, unit in enumerate(("seconds", "schedules")):
            chart = axes[column][place]
            for run in runs:
                if run.vendor != vendor:
                    continue
                times = sorted(at[column] for name, at in run.first.items() if name in names)
                shares = [100 * (n + 1) / len(names) for n in range(len(times))]
                color = f"C{kinds.index(run.kind)}"
                chart.step(times, shares, where="post", color=color, label=run.kind, linewidth=1)
            chart.set_xscale("log")
            chart.set_xlabel(unit)
            chart.set_title(vendor.upper() if column == 0 else "")
            chart.grid(alpha=0.3)
    for row in axes:
        row[0].set_ylabel("% of all signatures")
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))
    figure.legend(legend.values(), legend.keys(), ncols=len(legend), loc="lower center")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.recall")
    parser.add_argument("--seconds", type=int, default=60, help="for each run (60)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each fuzzer (3)")
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="A,B,..")
    parser.add_argument("--certificate", type=Path, action="append", default=[], metavar="FILE")
    add_svg(parser)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = exhaustive(options.certificate or [HERE / "corpus" / "exhaustive.json"])
    wanted = {vendor: {one for one in names if one.startswith(vendor)} for vendor in VENDORS}
    jobs = [
        (kind, vendor, options.seconds, seed)
        for seed in range(1, options.seeds + 1)
        for kind in options.kinds.split(",")
        for vendor in VENDORS
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = list(pool.map(lambda job: fuzz(*job), jobs))
    if options.json:
        print(json.dumps([run._asdict() for run in runs]))
    else:
        print(table(runs, wanted))
    if options.svg:
        plot(runs, wanted, options.svg)


if __name__ == "__main__":
    main()
