"""A crew on a Dask cluster: rounds, one at a time for each thread of its workers.

Dask keeps the workers, gives them rounds and brings back what they found. A worker that dies costs
its round; one that joins gets the next. What a round has found is written to the campaign's folder
as fuzzer processes do: inputs, then findings, then the count. So a campaign that is cut off loses
what rounds have not brought back, and counts nothing twice.
"""

import hashlib
import json
import pickle
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, Final

from distributed import CancelledError, Client, Event, Future, KilledWorker

from fuzz.campaign.campaign import Settings
from fuzz.campaign.collector import now
from fuzz.campaign.corpus import Cover, covering, shortest_first
from fuzz.campaign.elsewhere import PATIENCE, Call, WorkerError, own_files, own_of, program
from fuzz.campaign.folder import CORPUS, LOG, WORK
from fuzz.campaign.processes import GRACE, seed_of, turn
from fuzz.campaign.rounds import Done, Input, Kind, Round, run
from fuzz.campaign.tally import Counts, added
from fuzz.compare.compared import compared
from fuzz.page.read import CAMPAIGN
from fuzz.schedule.codes import schedule_of_input
from fuzz.schedule.file import append_line, write_whole
from fuzz.schedule.schedule import races
from variants.catalogue import describe
from variants.machine.step import Vendor

SHARE: Final = 0.25
"""What share of the session so far a round takes: the first are short, so that all soon know what
each has found."""
LOOK: Final = 1.0
"""Seconds between two looks at how many threads there are."""
MOST_KILLED: Final = 10
"""Rounds in a row that killed their workers, each several: then it is no accident."""
WAYS: Final = 2
"""How many inputs to take for a signature, with and without races, or for a way to it, besides
shorter ones."""
FUZZ_MODELS: Final = Kind()
ROUNDS: Final = "rounds.log"
"""In `LOG`: what became of them, and how many threads the cluster had."""


class Corpus:
    """The inputs kept for a vendor, in `folder`. hit: the counters that they hit."""

    def __init__(self, folder: Path, cover: Cover | None) -> None:
        """cover: of models; None where inputs come with the counters that they hit. Raises
        OSError."""
        self.folder = folder
        self.cover = cover
        self.hit = cover.hit if cover else set[int]()
        self._held: dict[str, bytes] = {}
        if cover:
            for _ in covering(shortest_first(folder), cover):
                pass

    def inputs(self) -> tuple[bytes, ...]:
        """What is there now: the campaign drops some. Raises OSError."""
        paths = list(self.folder.iterdir())
        self._held = {one.name: self._held.get(one.name) or one.read_bytes() for one in paths}
        return tuple(self._held.values())

    def take(self, inputs: Iterable[Input]) -> None:
        """Keep those that hit a counter which none before has, as libFuzzer's merge would. Raises
        OSError."""
        for one in sorted(inputs, key=lambda one: (len(one.data), one)):
            if self._grows(one):
                write_whole(self.folder / hashlib.sha1(one.data).hexdigest(), one.data)

    def _grows(self, one: Input) -> bool:
        if self.cover:
            return self.cover.grows(one.data)
        before = len(self.hit)
        self.hit.update(one.first)
        return len(self.hit) > before


class Cluster:
    """The crew of a session. client: of the cluster. kind: what is fuzzed."""

    def __init__(
        self, client: Client, settings: Settings, session: int, kind: Kind = FUZZ_MODELS
    ) -> None:
        """Raises OSError."""
        assert client.scheduler
        self.client = client
        self._scheduler = client.scheduler
        self.settings = settings
        self.session = session
        self.kind = kind
        self._grace = GRACE + kind.patience
        self._own = own_of(own_files(settings.options))
        self._corpora = {
            vendor: Corpus(settings.out / CORPUS / vendor, self._cover(vendor))
            for vendor in settings.vendors
        }
        self._began = time.monotonic()
        seconds = settings.ends.seconds
        self._deadline = inf if seconds is None else self._began + seconds
        self._ended = Event(client=client)
        self._asked = dict.fromkeys(settings.vendors, 0)
        self._over = set[Vendor]()
        self._rounds: dict[Future[Done], Vendor] = {}
        self._threads, self._looked = 0, -inf
        self._runs = self._written = self._killed = 0
        self._reached: Counts = {}
        self._lengths: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._gone = self._ran = False
        self._wrong = ""

    def _cover(self, vendor: Vendor) -> Cover | None:
        models = self.settings.variants
        return Cover(compared(vendor, models)) if models else None

    def works(self) -> bool:
        self._look()
        self._take_in()
        left = self._deadline - time.monotonic()
        while not self._wrong and left >= 1 and len(self._rounds) < self._threads:
            self._ask(left)
        if self._wrong or left >= 1 or (self._rounds and left > -self._grace):
            return not self._wrong
        if not self._ran:
            self._wrong = f"no round has come to an end; the cluster has {self._threads} threads"
        return False

    def wrong(self) -> str:
        return self._wrong

    def alive(self) -> int:
        return len(self._rounds)

    def coverage(self) -> int:
        return sum(len(corpus.hit) for corpus in self._corpora.values())

    def stop(self) -> None:
        if self._rounds and self._there():
            with suppress(OSError):
                self._ended.set()
            end = time.monotonic() + self._grace
            while self._rounds and self._there() and time.monotonic() < end:
                time.sleep(0.1)
                self._take_in()
            with suppress(OSError):
                self._ended.clear()
        self._rounds.clear()

    def _there(self) -> bool:
        """Is the scheduler there?"""
        return not self._gone and bool(self.client.status == "running")

    def _look(self) -> None:
        """See how many threads there are."""
        if self._gone or time.monotonic() < self._looked + LOOK:
            return
        before = self._threads
        self._looked, self._threads = time.monotonic(), 0
        # Then Dask has tried to reach it again.
        self._gone = self.client.status == "closed"
        try:
            if self._there():
                identity = self._scheduler.identity
                told = self.client.sync(identity, n_workers=0, callback_timeout=PATIENCE)
                self._threads = told["total_threads"]
        except TimeoutError:
            self._gone = True
        except OSError:
            pass
        if self._threads != before:
            self._log(f"{self._threads} threads")
        if self._gone:
            what = f"the scheduler at {self._scheduler.address} is gone"
            self._wrong = f"{what}: --resume goes on without it"

    def _ask(self, left: float) -> None:
        """Have a round done. left: seconds of the session."""
        wanted = [one for one in self._asked if one not in self._over] or list(self._asked)
        vendor = min(wanted, key=self._asked.__getitem__)
        own_turn = turn(self.kind.module, self._asked[vendor])
        self._asked[vendor] += 1
        share = (time.monotonic() - self._began) * SHARE
        # What a round finds is news when it ends.
        quiet = self.settings.ends.quiet or inf
        length = max(self.kind.shortest, min(self.kind.longest, share, quiet / 2))
        words = self.settings.options
        chosen = [*words[: words.index("--variant")]] if self._own else [*words]
        asked = Round(
            program(),
            self.kind,
            vendor,
            (*chosen, *(["--mix"] if self.settings.mix else []), *own_turn),
            self._own,
            self._corpora[vendor].inputs(),
            b"" if self.settings.variants else (self.settings.out / CAMPAIGN).read_bytes(),
            seed_of(self.settings.seed, sum(self._asked.values())),
            int(length if left > 1.5 * length else left),
        )
        call = pickle.dumps(Call(run, asked, self._ended))
        self._rounds[self.client.submit(pickle.loads, call, pure=False)] = vendor

    def _take_in(self) -> None:
        """Take in the rounds that are over."""
        for future in [one for one in self._rounds if one.done()]:
            vendor = self._rounds.pop(future)
            if future.status == "error":
                self._failed(future.exception(timeout=PATIENCE))
            elif done := result_of(future):
                self._keep(vendor, done)

    def _failed(self, error: BaseException) -> None:
        """Note that a round has come to nothing."""
        if isinstance(error, WorkerError):
            self._wrong = str(error)
        elif not isinstance(error, KilledWorker):
            self._wrong = f"a worker cannot fuzz, is eventdiff installed there? {describe(error)}"
        else:
            self._killed += 1
            self._log(f"a round was given up: {error}")
            if self._killed == MOST_KILLED:
                self._wrong = f"the workers that had the last {MOST_KILLED} rounds all died"

    def _log(self, what: str) -> None:
        append_line(self.settings.out / LOG / ROUNDS, f"{now()} {what}")

    def enough(self, vendor: Vendor) -> None:
        """Rounds that are begun from now on are of other vendors."""
        self._over.add(vendor)

    def _keep(self, vendor: Vendor, done: Done) -> None:
        """Write down what a round has found, and that it was run."""
        work = self.settings.out / WORK
        self._killed, self._ran = 0, True
        self._corpora[vendor].take(done.inputs)
        for found in sorted(done.findings, key=lambda one: len(one["input"])):
            if self._wanted(found):
                self._written += 1
                name = f"{self.session}-{vendor}-cluster-{self._written}.json"
                write_whole(work / name, json.dumps(found))
        if done.reached:
            self._reached = added([self._reached, *done.reached])
            write_whole(work / f"{self.session}-cluster.reached", json.dumps(self._reached))
        self._runs += done.runs
        self._log(f"{vendor}: {done.runs} schedules, {len(done.findings)} findings")
        elapsed = time.monotonic() - self._began
        write_whole(work / f"{self.session}-cluster.count", f"{self._runs} {elapsed:.3f}")
        self._wrong = self._wrong or done.wrong

    def _wanted(self, found: Mapping[str, Any]) -> bool:
        """Is it worth minimising? Each round finds most signatures again."""
        data = bytes.fromhex(found["input"])
        way = found.get("way") or str(races(schedule_of_input(data)))
        lengths = self._lengths[found.get("signature", ""), way]
        if len(lengths) >= WAYS and len(data) >= min(lengths):
            return False
        lengths.append(len(data))
        return True


def result_of(future: Future[Done]) -> Done | None:
    """What a round has brought back; None if that is lost."""
    try:
        return future.result(timeout=PATIENCE)
    except (CancelledError, OSError):
        return None
