"""`eventdiff fuzz --live` on a Dask cluster, whose workers have emulators."""

import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from fuzz.live_campaign.crews import lacks
from tests.live.running import start, wait_for
from tests.live.test_fuzzing import CLAIM, PAIR, PATIENCE, counted, signatures, told_in
from variants.live.cache import builds, fingerprints

NAMES = ("original+inside", "paolo+inside")


@pytest.fixture
def client(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Of a cluster of two workers, which use the cache."""
    monkeypatch.setenv("EVENTDIFF_CACHE", str(cache))
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


def test_a_campaign_on_workers_one_of_which_dies(
    cache: Path, tmp_path: Path, client: Client
) -> None:
    """It costs its round; the claim is found, and Ctrl-C ends the rounds with what they have."""
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    assert client.scheduler
    where = ("--scheduler", str(client.scheduler.address))
    options = (*where, "--vendor", "svm", "--time", "1d", "--out", out, "--json")
    with start(cache, scratch, "fuzz", "--live", *PAIR, *options) as run:
        wait_for(lambda: any(client.processing().values()), PATIENCE)
        os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)
        wait_for(lambda: f"svm: {CLAIM}" in signatures(out), PATIENCE)
        os.kill(run.pid, signal.SIGINT)
        printed, errors = run.communicate()
    assert run.returncode == 1, errors
    assert list(scratch.iterdir()) == []
    told = json.loads(printed)
    assert told == told_in(out)
    assert 0 < counted(out) == told["schedules"]
    claim = next(one for one in told["signatures"] if one["signature"] == f"svm: {CLAIM}")
    assert (claim["length"], claim["repeats"]) == (2, [3, 3])
    kept = list((out / "corpus" / "svm").iterdir())
    grown = (out / "statistics.jsonl").read_text().splitlines()
    assert 0 < len(kept) < json.loads(grown[-1])["coverage"]


def test_a_worker_has_to_have_the_same_kernels(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = fingerprints(builds(cache, NAMES))
    assert not lacks(wanted)
    assert "another build of paolo+inside" in lacks({**wanted, NAMES[1]: "built elsewhere"})
    monkeypatch.setenv("EVENTDIFF_CACHE", str(tmp_path))
    assert "nothing is set up" in lacks(wanted)
