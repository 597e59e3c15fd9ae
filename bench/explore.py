"""How the explorer's time and memory grow with the alphabet and the depth, and how fast it is.

For each alphabet an AP is explored as deep as --seconds allow; what is printed for it: depth,
whether that is the fixpoint, states, transitions, seconds, the process's memory, and
transitions a second the first time (`cold`) and again with vCPU states and steps known (`warm`,
no longer than the first), beside a search without numbers and memory (`plain`).

    python -m bench.explore [--vendor V] [--seconds S] [--svg FILE]
"""

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench.plots import add_svg, save, subplots
from fuzz.compare.compared import Compared, compared
from fuzz.compare.joint import start
from fuzz.explore.plain import plain_search
from fuzz.explore.search import Search
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import Alphabet, alphabet_of, usual_words, words_of
from variants.catalogue import choose
from variants.machine.step import VENDORS, Vendor

WIDER = {
    "usual": (),
    "usual and fixed interrupts": ("fixed", "sti", "cli"),
    "usual and NMI": ("nmi",),
    "usual and SMI": ("smi", "rsm"),
}


class Growth(NamedTuple):
    """levels: states reached by each depth."""

    name: str
    fixpoint: bool
    levels: list[int]
    transitions: int
    seconds: float
    megabytes: float
    warm: float
    plain: float


def alphabets(vendor: Vendor) -> Iterator[tuple[str, Alphabet]]:
    usual = usual_words(vendor)
    for name, more in WIDER.items():
        words = [word for word in words_of(vendor) if word in usual or word in more]
        yield name, alphabet_of(vendor, words, races=False)
    yield "everything", alphabet_of(vendor, words_of(vendor), races=False)
    yield "usual, with races", alphabet_of(vendor, usual, races=True)
    yield "everything, with races", alphabet_of(vendor, words_of(vendor), races=True)


def timed(search: Search, seconds: float) -> tuple[list[int], float]:
    """Run level by level, and stop after `seconds`: states by depth, and the seconds it took."""
    levels = [1]
    began = time.perf_counter()

    def until() -> bool:
        levels[search.depth :] = [search.states]
        return time.perf_counter() - began > seconds

    search.run(None, until=until)
    return levels, time.perf_counter() - began


def plain_rate(subject: Compared, alphabet: Alphabet, seconds: float) -> float:
    """Transitions a second of `plain_search`."""
    rate = 0.0
    began = time.perf_counter()
    for _, transitions in plain_search(subject, alphabet):
        elapsed = time.perf_counter() - began
        rate = transitions / elapsed
        if elapsed > seconds:
            break
    return rate


def memory() -> float:
    """Resident megabytes of this process."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def measure(vendor: Vendor, name: str, alphabet: Alphabet, seconds: float) -> Growth:
    """Explore with one alphabet, in a process of its own."""
    subject = compared(vendor, choose("", []))
    tables = Tables(subject, alphabet.steps)
    vcpu = start(subject, bsp=False)
    first = Search(tables, alphabet, vcpu, lambda *_: None)
    levels, took = timed(first, seconds)
    used = memory()
    again = Search(tables, alphabet, vcpu, lambda *_: None)
    began = time.perf_counter()
    again.run(first.depth)
    warm = again.transitions / (time.perf_counter() - began)
    plain = plain_rate(subject, alphabet, min(seconds, 5))
    return Growth(name, first.fixpoint, levels, first.transitions, took, used, warm, plain)


def plot(vendor: Vendor, grown: list[Growth], path: Path) -> None:
    """States by depth, a line an alphabet."""
    figure, chart = subplots(figsize=(7, 4.5))
    for growth in grown:
        end = "" if growth.fixpoint else " ..."
        chart.plot(growth.levels, marker=".", label=growth.name + end)
    chart.set_yscale("log")
    chart.set_xlabel("depth (schedule steps)")
    chart.set_ylabel("joint states of an AP")
    chart.set_title(f"{vendor.upper()}, three variants; dots: cut off")
    chart.grid(alpha=0.3)
    chart.legend(fontsize="small")
    figure.tight_layout()
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.explore")
    parser.add_argument("--vendor", choices=VENDORS, default="vmx")
    parser.add_argument("--seconds", type=float, default=30, help="for each alphabet (30)")
    add_svg(parser)
    options = parser.parse_args()
    jobs = [(options.vendor, *one, options.seconds) for one in alphabets(options.vendor)]
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as pool:
        grown = [pool.submit(measure, *job).result() for job in jobs]
    print(
        f"| {options.vendor} alphabet | depth | states | transitions | s | MB | cold/s | warm/s |"
        " plain/s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in grown:
        depth = f"{len(one.levels) - 1}{'' if one.fixpoint else ' (cut off)'}"
        cold = one.transitions / one.seconds
        numbers = (one.levels[-1], one.transitions, one.seconds, one.megabytes, cold, one.warm)
        cells = [one.name, depth, *(f"{number:,.0f}" for number in (*numbers, one.plain))]
        print("| " + " | ".join(cells) + " |")
    if options.svg:
        plot(options.vendor, grown, options.svg)


if __name__ == "__main__":
    main()
