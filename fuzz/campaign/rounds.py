"""A round: what a worker of a cluster does at a time. This runs there.

The worker has a fuzzer process of its own in a temporary folder, and gives back what that found.
"""

import hashlib
import json
import time
from typing import Final, NamedTuple

from distributed import Event

from fuzz.campaign.elsewhere import Own, as_given, at_work
from fuzz.campaign.folder import CORPUS, LOG, WORK, counts_in, drop_damaged
from fuzz.campaign.local import Local
from fuzz.campaign.processes import GRACE, Task, start
from variants.machine.step import Vendor

POLL: Final = 0.5
"""Seconds between two looks at the process, and at whether the round is to end."""
SESSION: Final = 1


class Round(NamedTuple):
    """What to do. program: that of the campaign. options: those that choose variants, besides the
    user's `own`, and what is fuzzed. corpus: the inputs to begin with."""

    program: str
    vendor: Vendor
    options: tuple[str, ...]
    own: tuple[Own, ...]
    corpus: tuple[bytes, ...]
    seed: int
    seconds: int


class Finding(NamedTuple):
    """A signature, and an input that shows it."""

    signature: str
    input: bytes


class Done(NamedTuple):
    """What has come of a round. runs: how many schedules. inputs: those that were new to libFuzzer.
    wrong: in one line, "" if nothing is."""

    runs: int
    inputs: tuple[bytes, ...]
    findings: tuple[Finding, ...]
    wrong: str


def run(asked: Round, ended: Event) -> Done:
    """Fuzz, until the time is over or the campaign has `ended`. Raises WorkerError and OSError."""
    with at_work(asked.program, asked.own) as (folder, files):
        corpus = folder / CORPUS / asked.vendor
        for one in (corpus, folder / LOG, folder / WORK):
            one.mkdir(parents=True)
        for data in asked.corpus:
            (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
        given = {one.name for one in corpus.iterdir()}
        options = (*asked.options, *(word for file in files for word in ("--variant", file)))
        task = Task(asked.vendor, f"{SESSION}-{asked.vendor}", options, asked.seconds, asked.seed)
        deadline = time.time() + asked.seconds + GRACE
        crew = Local([start(task, folder)], deadline, ", ".join(files))
        try:
            while crew.works() and not ended.wait(POLL):
                pass
            wrong = as_given(crew.wrong(), asked.own, files)
        finally:
            crew.stop()
        drop_damaged(folder / CORPUS)
        found = [json.loads(path.read_text()) for path in (folder / WORK).glob("*.json")]
        return Done(
            sum(runs for runs, _ in counts_in(folder / WORK, SESSION)),
            tuple(one.read_bytes() for one in corpus.iterdir() if one.name not in given),
            tuple(Finding(one["signature"], bytes.fromhex(one["input"])) for one in found),
            wrong,
        )
