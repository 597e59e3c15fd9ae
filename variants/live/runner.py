"""Run schedules live: batches of them a boot, a new boot where one breaks off."""

import gzip
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from variants.live.emulator import Booted, LiveError, Machine, boot
from variants.live.initramfs import boot_image
from variants.live.machines import bochs, qemu
from variants.live.observe import Observation, trace
from variants.live.protocol import Ended, Schedule, encode

BATCH: Final = 400
VENDOR_MODULE: Final = {"svm": "kvm-amd.ko", "vmx": "kvm-intel.ko"}


@dataclass(frozen=True)
class Build:
    """What a variant boots with: the kernel image, the folder of its modules, the agent."""

    vmlinuz: Path
    irqbypass: Path
    modules: Path
    agent: Path


@dataclass
class Report:
    """What went wrong in a run, one line each, and what it took."""

    troubles: list[str]
    boots: int = 0
    milliseconds: int = 0


def run_batch(machine: Machine, build: Build, vendor: str, batch: str) -> Booted:
    modules = {
        "irqbypass.ko": build.irqbypass.read_bytes(),
        "kvm.ko": (build.modules / "kvm.ko").read_bytes(),
        VENDOR_MODULE[vendor]: (build.modules / VENDOR_MODULE[vendor]).read_bytes(),
    }
    image = boot_image(build.agent.read_bytes(), modules, batch)
    with tempfile.TemporaryDirectory(prefix="eventdiff-") as folder:
        return boot(machine, Path(folder), gzip.compress(image, 1))


def run(
    schedules: Sequence[Schedule],
    build: Build,
    vendor: str,
    report: Report | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[list[Observation]]:
    """The traces of `schedules`, all of one vendor, in order.

    A schedule that hangs, panics or kills the emulator costs only itself: the others run in a
    new boot.
    """
    report = report if report is not None else Report([])
    machine = (qemu if vendor == "svm" else bochs)(build.vmlinuz)
    results: dict[int, Ended] = {}
    todo = list(range(len(schedules)))
    fruitless = 0
    while todo:
        batch = todo[:BATCH]
        text = "".join(encode(number, schedules[number]) for number in batch)
        booted = run_batch(machine, build, vendor, text)
        report.boots += 1
        for number, ended in booted.ended.items():
            report.milliseconds += ended.milliseconds
            results[number] = ended
        if booted.under_way is not None:
            results[booted.under_way].word = booted.why
            report.troubles.append(f"schedule {booted.under_way}: {booted.why}")
        for number, ended in booted.ended.items():
            if ended.word in ("died", "hung"):
                report.troubles.append(f"schedule {number}: the agent {ended.word}")
        fruitless = 0 if booted.ended else fruitless + 1
        if fruitless > 1:
            raise LiveError(f"no schedule ran: {booted.why}")
        todo = [number for number in todo if number not in results]
        progress(len(schedules) - len(todo))
    return [trace(schedule, results[number]) for number, schedule in enumerate(schedules)]


def run_variants(
    schedules: Sequence[Schedule],
    builds: dict[str, Build],
    vendor: str,
    parallel: int,
) -> tuple[dict[str, list[list[Observation]]], dict[str, Report]]:
    """`run` for each variant, as many at a time as `parallel` says."""
    reports = {name: Report([]) for name in builds}
    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        futures = {
            name: pool.submit(run, schedules, build, vendor, reports[name])
            for name, build in builds.items()
        }
        return {name: future.result() for name, future in futures.items()}, reports
