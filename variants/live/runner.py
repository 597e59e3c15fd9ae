"""Run schedules live: batches of them a boot, a new boot where one breaks off."""

import gzip
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final, TypeVar

from variants.live.emulator import Booted, LiveError, Machine, Stopped, boot
from variants.live.guests import Guests
from variants.live.host import HostAgent, host
from variants.live.initramfs import boot_image
from variants.live.machines import bochs, qemu
from variants.live.observe import Observation, trace
from variants.live.protocol import NOT_INSIDE, Ended, Landing, Schedule, encode, nowhere

BATCH: Final = 400
WORTH_A_BOOT: Final = 50
"""Schedules; a boot takes as long as some of them."""
NOT_RUN: Final = "not run, for others ended the emulator"
TICK_SECONDS: Final = 0.5
Key = TypeVar("Key")
Result = TypeVar("Result")
VENDOR_MODULE: Final = {"svm": "kvm-amd.ko", "vmx": "kvm-intel.ko"}


@dataclass(frozen=True)
class Build:
    """What a variant boots with: the kernel image, the folder of its modules, the agent.

    bochs: where a newer Bochs is than the system's, if there is one. inside: the folder of the
    instrumented modules, if they are set up.
    """

    vmlinuz: Path
    irqbypass: Path
    modules: Path
    agent: Path
    bochs: Path | None = None
    inside: Path | None = None


@dataclass
class Report:
    """What went wrong in a run, one line each, what it took, and by number what was printed."""

    troubles: list[str]
    boots: int = 0
    milliseconds: int = 0
    ended: dict[int, Ended] = field(default_factory=dict)


def run_batch(
    build: Build | HostAgent, vendor: str, batch: str, stop: Event, guests: Guests | None = None
) -> Booted:
    """One boot for `batch`, or one run of the agent on the host, or one of `guests`."""

    def machine(line: str = "") -> Machine:
        if isinstance(build, HostAgent):
            return host(build.agent)
        if vendor == "svm":
            return qemu(build.vmlinuz, line)
        return bochs(build.vmlinuz, build.bochs, line)

    def image() -> bytes:
        if isinstance(build, HostAgent):
            return batch.encode()
        return gzip.compress(image_of(build, vendor, batch), 1)

    if guests and isinstance(build, Build):
        return guests.run((build, vendor), machine, image, batch, stop)
    with tempfile.TemporaryDirectory(prefix="eventdiff-") as folder:
        return boot(machine(), Path(folder), image(), stop)


def modules_of(vendor: str) -> tuple[str, str]:
    """KVM's modules, by the names that the kernel has for them."""
    return "kvm", VENDOR_MODULE[vendor].removesuffix(".ko").replace("-", "_")


def image_of(build: Build, vendor: str, batch: str) -> bytes:
    modules = {
        "irqbypass.ko": build.irqbypass.read_bytes(),
        "kvm.ko": (build.modules / "kvm.ko").read_bytes(),
        VENDOR_MODULE[vendor]: (build.modules / VENDOR_MODULE[vendor]).read_bytes(),
    }
    return boot_image(build.agent.read_bytes(), modules, batch)


def run(
    schedules: Sequence[Schedule],
    build: Build | HostAgent,
    vendor: str,
    report: Report | None = None,
    stop: Event | None = None,
    fresh: bool = True,
    most_broken: int | None = None,
    guests: Guests | None = None,
    inside: int = NOT_INSIDE,
    landing: Landing = nowhere,
) -> list[list[Observation]]:
    """The traces of `schedules`, all of one vendor, in order.

    fresh: each in a VM of its own; else some share one, each with vCPUs and memory of its own.
    A schedule that hangs, panics or kills the emulator costs only itself: the others run in a
    new boot, and so does that one, once more, if the emulator ended in it. That time the agent
    prints each step at once: a trace that breaks off again does so at the step under way.
    most_broken: how many may end the emulator, two boots each; what is left then is `NOT_RUN`.
    guests: run short batches in these, where one is up. inside, landing: as in `encode`.
    """
    report = report if report is not None else Report([])
    stop = stop or Event()
    results: dict[int, Ended] = {}
    todo = list(range(len(schedules)))
    broken: set[int] = set()
    fruitless = 0
    while todo:
        batch = todo[:BATCH]
        text = "".join(
            encode(
                number,
                schedules[number],
                aloud=number in broken,
                fresh=fresh or number in broken,
                inside=inside,
                landing=landing,
            )
            for number in batch
        )
        booted = run_batch(build, vendor, text, stop, guests)
        if stop.is_set():
            raise Stopped
        report.boots += booted.boots
        for number, ended in booted.ended.items():
            report.milliseconds += ended.milliseconds
            results[number] = ended
            if ended.word in ("died", "hung"):
                step = len(ended.lines)
                name = name_of(schedules[number])
                report.troubles.append(f"{name}: the agent {ended.word} at step {step}")
        if booted.under_way is not None:
            number = booted.under_way
            results[number].word = booted.why
            step = len(results[number].lines)
            what = f"given up at step {step}" if number in broken else "run again"
            report.troubles.append(f"{name_of(schedules[number])}: {booted.why}, {what}")
            if number not in broken:
                broken.add(number)
                del results[number]
        elif booted.ended and not booted.done:
            report.troubles.append(f"{booted.why} between schedules")
        fruitless = 0 if booted.ended else fruitless + 1
        if fruitless > 1:
            raise LiveError(f"no schedule ran: {booted.why}")
        todo = [number for number in todo if number not in results]
        if most_broken is not None and len(broken & results.keys()) >= most_broken:
            results |= {number: Ended(word=NOT_RUN) for number in todo}
            todo = []
    report.ended = results
    return [trace(schedule, results[number]) for number, schedule in enumerate(schedules)]


def name_of(schedule: Schedule) -> str:
    return str(schedule.get("name") or "a schedule")


def run_variants(
    schedules: Sequence[Schedule],
    builds: Mapping[str, Build | HostAgent],
    vendor: str,
    parallel: int,
    tick: Callable[[], None] = lambda: None,
    fresh: bool = True,
    most_broken: int | None = None,
    guests: Guests | None = None,
    inside: int = NOT_INSIDE,
    landings: Mapping[str, Landing] | None = None,
) -> tuple[dict[str, list[list[Observation]]], dict[str, Report]]:
    """`run` for each variant, as many emulators at a time as `parallel` says; `tick` is called
    meanwhile.

    Where there are fewer variants than that, each has its schedules dealt to several emulators.
    landings: where each variant's `at` are. Whatever ends it early, Ctrl-C too, ends the emulators
    and removes their scratch folders.
    """
    each = max(1, parallel // max(1, len(builds)))
    reports: dict[tuple[str, range], Report] = {}
    tasks = {}
    for name, build in builds.items():
        deals = isinstance(build, Build) and most_broken is None
        for part in shares(len(schedules), each if deals else 1):
            reports[name, part] = Report([])
            tasks[name, part] = partial(
                run,
                [schedules[number] for number in part],
                build,
                vendor,
                reports[name, part],
                fresh=fresh,
                most_broken=most_broken,
                guests=guests,
                inside=inside,
                landing=(landings or {}).get(name, nowhere),
            )
    found = at_once(tasks, parallel, tick)
    traces: dict[str, dict[int, list[Observation]]] = {name: {} for name in builds}
    for (name, part), some in found.items():
        traces[name] |= zip(part, some, strict=True)
    return (
        {name: [of_all[n] for n in range(len(schedules))] for name, of_all in traces.items()},
        {
            name: joined({part: one for (other, part), one in reports.items() if other == name})
            for name in builds
        },
    )


def at_once(
    tasks: Mapping[Key, Callable[..., Result]], parallel: int, tick: Callable[[], None]
) -> dict[Key, Result]:
    """What tasks return, `parallel` at a time; `stop`, which each is given, is set if one fails."""
    stop = Event()
    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        futures = {key: pool.submit(task, stop=stop) for key, task in tasks.items()}
        try:
            left = set(futures.values())
            while left and not any(one.done() and one.exception() for one in futures.values()):
                left = wait(left, TICK_SECONDS, FIRST_EXCEPTION).not_done
                tick()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    errors = [
        error for one in futures.values() if not one.cancelled() and (error := one.exception())
    ]
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
        raise error
    return {key: future.result() for key, future in futures.items()}


def shares(schedules: int, most: int) -> list[range]:
    """The numbers of schedules, dealt out in turns to `most`, or to fewer where a boot would not
    pay. Neighbours are alike, and so are then what is dealt."""
    parts = max(1, min(most, schedules // WORTH_A_BOOT))
    return [range(part, schedules, parts) for part in range(parts)]


def joined(reports: Mapping[range, Report]) -> Report:
    """One report of what several emulators ran, by the numbers of all schedules together."""
    return Report(
        [trouble for one in reports.values() for trouble in one.troubles],
        sum(one.boots for one in reports.values()),
        sum(one.milliseconds for one in reports.values()),
        {
            part[number]: ended
            for part, one in reports.items()
            for number, ended in one.ended.items()
        },
    )
