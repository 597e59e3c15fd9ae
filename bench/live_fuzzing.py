"""Live fuzzing from an empty corpus: when both claims of the mail's patches were found, and how
fast it is.

    python -m bench.live_fuzzing [--vendor V] [--seconds S] [--seeds N]

With --crews instead what a schedule costs with one fuzzer process and with two, in turns, on the
first two variants: processor time of theirs and of their emulators. And how many cores one process
keeps busy if emulators never wait for one: that time over the process's own and the longest
emulator's.

With --batches instead what an input costs on one instrumented variant, by how many are run at a
time: processor time of the emulator, which other work on the machine hardly changes; and how many
of the blocks that an input reaches it reaches each time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter, sleep
from typing import Final

from fuzz.campaign.mutator import Mutator
from fuzz.live_campaign.kernels import live_schedule, run
from fuzz.schedule.schedule import Schedule
from variants.live.cache import builds
from variants.live.emulator import LiveError
from variants.live.guests import guests
from variants.live.inside import SUFFIX
from variants.live.layout import Place
from variants.machine.step import VENDORS, Vendor

ROOT: Final = Path(__file__).parent.parent
NAMES: Final = ("original", "yadong", "paolo")
CLAIMS: Final = {
    "yadong never halts": "liveness: original+paolo | yadong: step: outcome: waits | goes on",
    "paolo never halts": "liveness: original+yadong | paolo: step: outcome: waits | goes on",
}
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
INPUTS: Final = 64
TICKS: Final = 100
"""Of the processor time in /proc, a second."""


def inputs(vendor: Vendor) -> list[Schedule]:
    """What the mutator makes of nothing."""

    def made(number: int) -> Schedule:
        mutator, data = Mutator(vendor, races=False), b""
        for _ in range(1 + number % 5):
            data = mutator(data, 0, number)
        return live_schedule(data)

    return list(islice((one for one in map(made, range(10 * INPUTS)) if one.steps), INPUTS))


def used(process: int) -> float:
    """Seconds of processor time of a process."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def batches(vendor: Vendor) -> None:
    name = NAMES[0] + SUFFIX
    those = builds(None, [name])
    some = inputs(vendor)
    always = [set[Place]() for _ in some]
    ever = [set[Place]() for _ in some]
    with guests(1) as up:
        run(some[:1], vendor, those, up, lambda: None)
        for batch in BATCHES:
            ((_, guest),) = up.up
            process = guest.running.process.pid
            before, began = used(process), perf_counter()
            for at in range(0, INPUTS, batch):
                ran = run(some[at : at + batch], vendor, those, up, lambda: None)
                for number, one in enumerate(ran, at):
                    reached = set(one.reached[name])
                    always[number] = always[number] & reached if ever[number] else reached
                    ever[number] |= reached
            by_clock, took = perf_counter() - began, used(process) - before
            each = [f"{1000 * one / INPUTS:.1f}" for one in (took, by_clock)]
            said = "{} ms each ({} by the clock)".format(*each)
            print(f"{vendor}: {batch} at a time: {said}", flush=True)
    each = [str(sum(map(len, some)) // INPUTS) for some in (always, ever)]
    print(f"{vendor}: of {len(BATCHES)} runs all reach {each[0]} blocks, some {each[1]}")


def command_of(
    names: Sequence[str], vendor: Vendor, seconds: int, seed: int, workers: int, folder: str
) -> list[str]:
    """A campaign in `folder`."""
    command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--live", "--json"]
    command += ["--variants", ",".join(names), "--vendor", vendor, "--seed", str(seed)]
    command += ["--time", str(seconds), "--workers", str(workers)]
    return [*command, "--out", f"{folder}/campaign"]


def children(process: int) -> list[int]:
    told = Path(f"/proc/{process}/task").glob("*/children")
    return [int(word) for path in told for word in path.read_text().split()]


def crew(vendor: Vendor, seconds: int, seed: int, workers: int) -> str:
    """What a campaign with so many fuzzer processes has spent."""
    # By fuzzer process, and by what it has started.
    spent: dict[int, dict[int, float]] = {}
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        command = command_of(NAMES[:2], vendor, seconds, seed, workers, folder)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as ran:
            while ran.poll() is None:
                for one in children(ran.pid):
                    try:
                        if b"live_campaign.target" not in Path(f"/proc/{one}/cmdline").read_bytes():
                            continue
                        for process in (one, *children(one)):
                            spent.setdefault(one, {})[process] = used(process)
                    except OSError:
                        continue  # It has ended meanwhile.
                sleep(0.5)
            printed, _ = ran.communicate()
    if ran.returncode not in (0, 1):
        raise LiveError("the campaign came to nothing")
    told = json.loads(printed)
    total = sum(time for some in spent.values() for time in some.values())
    longest = sum(
        some[one] + max(time for process, time in some.items() if process != one)
        for one, some in spent.items()
    )
    said = [
        f"{told['schedules']} schedules in {told['seconds']:.0f} s",
        f"{1000 * total / told['schedules']:.1f} ms of processor time each",
        f"a process keeps {total / longest:.2f} cores busy",
        f"{len(told['signatures'])} differences",
    ]
    return f"{vendor}: {workers} workers: {'; '.join(said)}"


def campaign(vendor: Vendor, seconds: int, seed: int, workers: int) -> str:
    """What a campaign has come to."""
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        command = command_of(NAMES, vendor, seconds, seed, workers, folder)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode not in (0, 1):
            raise LiveError(done.stderr.strip())
        told = json.loads(done.stdout)
        grown = Path(folder, "campaign", "statistics.jsonl").read_text().splitlines()
    first = {one["signature"]: one["first"] for one in told["signatures"]}
    claims = [
        f"{words} after {at['seconds']:.0f} s and {at['schedules']} schedules"
        for words, signature in CLAIMS.items()
        if (at := first.get(f"{vendor}: {signature}"))
    ]
    last = json.loads(grown[-1])
    said = [
        "; ".join(claims) or "no claim",
        f"in all {len(first)} differences",
        f"{told['schedules']} schedules in {told['seconds']:.0f} s",
        f"{last['coverage']} counters, {last['corpus']} inputs",
        f"{told['unsteady']} unsteady, {told['troubles']} troubles",
    ]
    return f"{vendor}, seed {seed}: {'; '.join(said)}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.live_fuzzing", description=__doc__)
    parser.add_argument("--vendor", choices=VENDORS)
    parser.add_argument("--seconds", type=int, default=300, help="of a campaign (300)")
    parser.add_argument("--seeds", type=int, default=1, help="how many campaigns (1)")
    parser.add_argument("--workers", type=int, default=1, help="fuzzer processes (1)")
    parser.add_argument("--crews", action="store_true")
    parser.add_argument("--batches", action="store_true")
    options = parser.parse_args()
    try:
        for vendor in (options.vendor,) if options.vendor else VENDORS:
            if options.batches:
                batches(vendor)
                continue
            for seed in range(1, options.seeds + 1):
                for workers in (1, 2, 2, 1) if options.crews else ():
                    print(crew(vendor, options.seconds, seed, workers), flush=True)
                if options.crews:
                    continue
                print(campaign(vendor, options.seconds, seed, options.workers), flush=True)
    except LiveError as error:
        print(f"bench.live_fuzzing: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
