"""One libFuzzer process over real kernels, of one vendor: an emulator a variant, which stays up.

Run by `fuzz.live_campaign.campaign` as `python -m fuzz.live_campaign.target`. The counters are the
kernels' basic blocks, not Python's. What diverges is written to `--findings`, and the run goes on.
"""

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final, ParamSpec, TypeVar

import atheris

from fuzz.campaign.mutator import Mutator, crossover_of, seldom
from fuzz.campaign.parent import end_with
from fuzz.campaign.progress import Progress
from fuzz.campaign.tally import Tally
from fuzz.campaign.target import MAX_INPUT, coverage_counters
from fuzz.live_campaign.ahead import Ahead
from fuzz.live_campaign.counters import Counters
from fuzz.live_campaign.kernels import Ran, live_schedule, run
from fuzz.live_campaign.known import Known
from fuzz.live_campaign.variations import varied
from fuzz.page.read import CAMPAIGN
from fuzz.review.findings import Unexplained
from fuzz.review.marks import Mark, marks
from fuzz.schedule.file import append_line, write_whole
from variants.live.cache import builds, fingerprints
from variants.live.guests import guests
from variants.live.inside import SUFFIX, read_blocks
from variants.live.layout import Place
from variants.live.runner import Build, modules_of
from variants.machine.step import VENDORS, Vendor

P = ParamSpec("P")
R = TypeVar("R")


OWN_WATCH: Final = ("-timeout=1000000", "-report_slow_units=1000000", "-handle_term=0")
"""A batch may take minutes, where one of its schedules hangs a kernel; that is looked after here.
With 0 seconds Atheris ends the process at its first alarm."""


class Over(BaseException):
    """The time is over, or the process was asked to end. Nothing on the way is to catch it."""


class Findings:
    """Writes the inputs that show a difference in a way not met before, or a shorter one; and those
    that no kernel survives.

    folder: for the campaign to look into. name: what the names of its files begin with.
    """

    def __init__(self, folder: Path, name: str, progress: Progress) -> None:
        self.folder = folder
        self.name = name
        self.progress = progress
        self.known: dict[object, int] = {}
        self.written = 0

    def take(self, data: bytes, ran: Ran) -> list[Mark]:
        """Note what `data` showed; how its differences look. Raises OSError."""
        parted = marks(ran.schedule, ran.traces)
        for step, mark in parted:
            trace = ran.traces[mark.groups[0][0]][: step + 1]
            shown = Unexplained(ran.schedule, step, mark, trace)
            # As a review chooses what to minimise (fuzz.review.hunt: representatives).
            key = (mark, shown.standing, shown.item[:3])
            if step < self.known.get(key, step + 1):
                self.known[key] = step
                self.write({"signature": str(mark), "way": repr(key), "input": data.hex()})
        if ran.broken and not parted:
            self.write({"trouble": "; ".join(ran.broken), "input": data.hex()})
        return [mark for _, mark in parted]

    def write(self, told: Mapping[str, object]) -> None:
        self.written += 1
        more = {"runs": self.progress.runs, "seconds": self.progress.elapsed}
        path = self.folder / f"{self.name}-{self.written}.json"
        write_whole(path, json.dumps({**told, **more}))


class News:
    """Notes in the file `path` which inputs hit counters that none before has, and which."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hit: set[int] = set()

    def take(self, data: bytes, numbers: Iterable[int]) -> None:
        """`data` has hit the counters of these `numbers`. Raises OSError."""
        if new := sorted(set(numbers) - self.hit):
            self.hit.update(new)
            append_line(self.path, json.dumps([data.hex(), new]))


def places_of(build: Build, vendor: Vendor) -> list[Place]:
    """Where the blocks are that a build has for `vendor`."""
    places = (block.place for block in read_blocks(build.modules))
    return [place for place in places if place.module in modules_of(vendor)]


def ending(call: Callable[P, R], close: Callable[[], None]) -> Callable[P, R]:
    """`call`, for libFuzzer, out of which no exception may come: ends the process instead.

    close: what is to be done first.
    """

    def ended(*arguments: P.args, **named: P.kwargs) -> R:
        status = 1
        try:
            return call(*arguments, **named)
        except Over:
            status = 0
        except BaseException:
            traceback.print_exc()
        try:
            close()
        except OSError:
            traceback.print_exc()
            status = 1
        sys.stderr.flush()
        os._exit(status)

    return ended


def main() -> None:
    """Parse the campaign's arguments and fuzz."""
    parser = argparse.ArgumentParser(prog="fuzz.live_campaign.target")
    parser.add_argument("--vendor", choices=VENDORS, required=True)
    parser.add_argument("--variants", required=True)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--name", default="", help="what the names of files there begin with")
    parser.add_argument("--parent", type=int, help="the process to end with")
    parser.add_argument("--seconds", type=int, default=0, help="0: until it is stopped")
    parser.add_argument("--mix", action="store_true")
    parser.add_argument("--news", type=Path, help="where to note which inputs hit counters first")
    parser.add_argument("libfuzzer", nargs="*")
    options = parser.parse_args()
    asked: list[int] = []
    # An exception could come where none may: between libFuzzer and this module.
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    if options.parent:
        end_with(options.parent, signal.SIGTERM)
    stack = ExitStack()
    ending(fuzz, stack.close)(options, asked, stack)


def fuzz(options: argparse.Namespace, asked: Sequence[int], stack: ExitStack) -> None:
    """Hand over to libFuzzer, which does not come back. asked: not empty where the process is to
    end. stack: what is to be closed then."""
    vendor: Vendor = options.vendor
    names = options.variants.split(",")
    those = builds(None, [name + SUFFIX for name in names])
    kernels = dict(zip(names, those.values(), strict=True))
    counters = Counters({name: places_of(one, vendor) for name, one in kernels.items()})
    hit = coverage_counters(counters.count)
    name = options.name or str(os.getpid())
    progress = Progress(options.findings, name)
    tally = Tally(options.findings / f"{name}.reached", vendor, fingerprints(kernels))
    findings = Findings(options.findings, options.name, progress)
    news = News(options.news) if options.news else None

    def done() -> None:
        progress.note()
        tally.note()
        # As libFuzzer says it where it ends itself: the campaign looks for that.
        print(f"Done {progress.runs} runs in {progress.elapsed:.0f} second(s)", file=sys.stderr)

    stack.callback(done)
    up = stack.enter_context(guests(len(kernels)))

    def tick() -> None:
        if asked or (options.seconds and progress.elapsed > options.seconds):
            raise Over

    def run_some(inputs: Sequence[bytes]) -> list[Ran]:
        tick()
        known.look()
        return run([live_schedule(data) for data in inputs], vendor, kernels, up, tick)

    ahead = Ahead(run_some)
    known = Known(options.findings.parent / CAMPAIGN, vendor)

    def ready(data: bytes, seed: int) -> bytes:
        random = Random(seed)
        return known.around(varied(data, random), random)

    def run_one(data: bytes) -> None:
        ran = ahead.shown(data)
        # libFuzzer wants its first input, which has no steps, to hit something too.
        hit[0] = 1
        if not ran.traces:
            return
        progress.count()
        looks = findings.take(data, ran)
        if not ran.broken:
            tally.take(ran.reached)
            numbers = [*counters.of_blocks(ran.reached), *counters.of_looks(looks)]
            for number in numbers:
                hit[number] = 1
            if news:
                news.take(data, numbers)

    mutator = Mutator(vendor, mix=options.mix, races=False)
    crossover = seldom(crossover_of(options.mix), mutator)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return ahead.instead(lambda: ready(mutator(data, most, seed), seed))

    def cross(one: bytes, other: bytes, most: int, seed: int) -> bytes:
        return ahead.instead(lambda: ready(crossover(one, other, most, seed), seed))

    for folder in (one for one in options.libfuzzer if not one.startswith("-")):
        ahead.take([path.read_bytes() for path in sorted(Path(folder).iterdir())])
    atheris.Setup(
        [sys.argv[0], f"-max_len={MAX_INPUT}", *OWN_WATCH, *options.libfuzzer],
        ending(run_one, stack.close),
        custom_mutator=ending(mutate, stack.close),
        custom_crossover=ending(cross, stack.close),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
