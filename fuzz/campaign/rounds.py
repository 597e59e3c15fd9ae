"""A round: what a worker of a cluster does at a time. This runs there.

The worker has a fuzzer process of its own in a temporary folder, and gives back what that found.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from distributed import Event

from fuzz.campaign.elsewhere import Own, as_given, at_work, nothing
from fuzz.campaign.folder import CORPUS, LOG, WORK, counts_in, drop_damaged
from fuzz.campaign.local import Local
from fuzz.campaign.processes import GRACE, MODELS, Task, start
from fuzz.campaign.tally import Counts, reached_in
from fuzz.page.read import CAMPAIGN
from fuzz.schedule.file import whole_lines
from variants.machine.step import Vendor

POLL: Final = 0.5
"""Seconds between two looks at the process, and at whether the round is to end."""
SESSION: Final = 1
NEWS: Final = "news.jsonl"


class Kind(NamedTuple):
    """What the processes of rounds fuzz. module: what they run; unless that fuzzes models, it is
    told by `--news` where to write which inputs hit counters first. shortest, longest: seconds of a
    round. patience: as in `stop`. lacks: as in `at_work`."""

    module: str = MODELS
    shortest: int = 5
    longest: int = 300
    patience: float = 0
    lacks: Callable[[], str] = nothing


class Round(NamedTuple):
    """What to do. program: that of the campaign. options: those that choose variants, besides the
    user's `own`, and what is fuzzed. corpus: the inputs to begin with. told: what campaign.json has
    by now, to go around what is known; not of models."""

    program: str
    kind: Kind
    vendor: Vendor
    options: tuple[str, ...]
    own: tuple[Own, ...]
    corpus: tuple[bytes, ...]
    told: bytes
    seed: int
    seconds: int


class Input(NamedTuple):
    """An input that hit something new. first: the counters that it was the first in its process to
    hit, where only the process knows; those of models anyone can tell."""

    data: bytes
    first: tuple[int, ...] = ()


class Done(NamedTuple):
    """What has come of a round. runs: how many schedules. inputs: those that were new to libFuzzer.
    findings, reached: as the process has written them. wrong: in one line, "" if nothing is."""

    runs: int
    inputs: tuple[Input, ...]
    findings: tuple[Mapping[str, Any], ...]
    reached: tuple[Counts, ...]
    wrong: str


def run(asked: Round, ended: Event) -> Done:
    """Fuzz, until the time is over or the campaign has `ended`. Raises WorkerError and OSError."""
    kind = asked.kind
    with at_work(asked.program, asked.own, kind.lacks) as (folder, files):
        corpus = folder / CORPUS / asked.vendor
        for one in (corpus, folder / LOG, folder / WORK):
            one.mkdir(parents=True)
        for data in asked.corpus:
            (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
        if asked.told:
            (folder / CAMPAIGN).write_bytes(asked.told)
        given = {one.name for one in corpus.iterdir()}
        options = (*asked.options, *(word for file in files for word in ("--variant", file)))
        news = folder / NEWS
        if kind.module != MODELS:
            options = (*options, "--news", str(news))
        name = f"{SESSION}-{asked.vendor}"
        task = Task(asked.vendor, name, options, asked.seconds, asked.seed, kind.module)
        deadline = time.time() + asked.seconds + GRACE + kind.patience
        crew = Local([start(task, folder)], deadline, ", ".join(files), kind.patience)
        try:
            while crew.works() and not ended.wait(POLL):
                pass
            wrong = as_given(crew.wrong(), asked.own, files)
        finally:
            crew.stop()
        drop_damaged(folder / CORPUS)
        new = [Input(one.read_bytes()) for one in corpus.iterdir() if one.name not in given]
        return Done(
            sum(runs for runs, _ in counts_in(folder / WORK, SESSION)),
            tuple(new if kind.module == MODELS else news_in(news)),
            tuple(json.loads(path.read_text()) for path in (folder / WORK).glob("*.json")),
            tuple(reached_in(folder / WORK, SESSION)),
            wrong,
        )


def news_in(path: Path) -> list[Input]:
    """The inputs that a process has noted. Raises OSError."""
    lines = whole_lines(path) if path.exists() else []
    return [Input(bytes.fromhex(data), tuple(first)) for data, first in map(json.loads, lines)]
