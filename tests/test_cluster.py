"""Campaigns and explorations on more workers than one: here, and on a Dask cluster."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from bench.kills import ROOT, children_of, kept, lost, run, running, wait_until_alone
from fuzz.campaign.cluster import Corpus
from fuzz.campaign.corpus import Cover
from fuzz.campaign.folder import WORK, counts_in
from fuzz.campaign.rounds import Input
from fuzz.cli.main import main
from fuzz.compare.compared import compared
from fuzz.schedule.codes import fuzz_input
from fuzz.schedule.file import read_schedule
from fuzz.schedule.seeds import SEEDS
from tests.test_campaign import complaints
from variants.catalogue import choose

CLAIM = "svm: liveness: original | yadong: SIPI in L2 INIT-intercepted: one waits, another goes on"
SCHEDULE = read_schedule(str(SEEDS / "svm-sipi-in-l2-then-hlt.yaml"))
SMALL = ["--vendor", "svm", "--variants", "original,yadong"]
RAISES = """\
from variants.machine import events
from variants.machine.vcpu import Vcpu
from variants.variant import Variant, replaces


@replaces(events.kvm_apic_accept_events)
def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    raise ValueError("mine")


VARIANT = Variant("mine", "raises", (kvm_apic_accept_events,))
"""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Of a cluster of two workers."""
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def address(client: Client) -> str:
    assert client.scheduler
    return str(client.scheduler.address)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """One that wants no more than the claim."""
    path = tmp_path / "certificate.json"
    asked = {"vendors": ["svm"], "steps": "", "races": True, "bound": None}
    wanted = [{"signature": CLAIM, "length": 3}]
    told = {**asked, "variant_options": ["original,yadong"], "signatures": wanted}
    path.write_text(json.dumps(told))
    return path


def test_as_many_processes_as_asked(tmp_path: Path) -> None:
    out = tmp_path / "campaign"
    assert run(out, "--workers", "3", "--time", "2").returncode == 1
    assert len(list((out / "log").glob("svm-?.log"))) == 3


def test_a_vendor_takes_a_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "campaign"
    assert main(["fuzz", "--workers", "1", "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_a_campaign_on_a_cluster(certificate: Path, tmp_path: Path) -> None:
    """It finds what processes here do, into the same folder, and goes on without a cluster."""
    out = tmp_path / "campaign"
    ended = run(out, "--cluster", "2", "--until-complete", str(certificate))
    assert ended.returncode == 1, ended.stderr
    assert CLAIM in kept(out).first
    told = json.loads((out / "campaign.json").read_text())
    assert told["schedules"] == sum(runs for runs, _ in counts_in(out / WORK, 1)) > 0
    assert not list((out / WORK).glob("*.json"))
    wait_until_alone(out)
    before = kept(out)
    assert run(out, "--resume", "--time", "2").returncode == 1
    assert lost(before, kept(out)) == []


def test_a_worker_that_dies_costs_its_round(client: Client, address: str, tmp_path: Path) -> None:
    out = tmp_path / "campaign"
    with running(out, "--scheduler", address, "--time", "600") as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(3):
            before = kept(out).schedules
            os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)
            while kept(out).schedules == before and process.poll() is None:
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert process.returncode == 1, error
    assert complaints(error) == []
    assert kept(out).first
    told = (out / "log" / "rounds.log").read_text()
    assert "Z svm: " in told
    assert "Z 2 threads" in told


@contextmanager
def dask(*arguments: str, first: str = "pass") -> Iterator["subprocess.Popen[bytes]"]:
    """A scheduler or a worker as people start them, after the statement `first`."""
    started = f"import sys; {first}; from dask.__main__ import main; main()"
    command = [sys.executable, "-c", started, *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """One of its own, with its address."""
    at = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0"]
    with dask("scheduler", *options, "--scheduler-file", str(at)) as process:
        while not at.exists():
            time.sleep(0.1)
        yield process, json.loads(at.read_text())["address"]


def test_a_scheduler_that_goes_away(tmp_path: Path) -> None:
    """One line; the campaign is whole, and goes on here."""
    out = tmp_path / "campaign"
    with (
        scheduler(tmp_path) as (there, address),
        dask("worker", address, "--local-directory", str(tmp_path)),
        running(out, "--scheduler", address, "--time", "600") as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        there.kill()
        _, error = process.communicate()
    assert process.returncode == 2
    assert len(complaints(error)) == 1
    assert f"{address} is gone" in error
    assert "--resume" in error
    before = kept(out)
    assert run(out, "--resume", "--time", "2").returncode == 1
    assert lost(before, kept(out)) == []


@pytest.mark.parametrize("command", ["fuzz", "explore"])
def test_a_worker_without_the_program(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lacks = "sys.modules['fuzz'] = None"
    options = ["--no-nanny", "--local-directory", str(tmp_path)]
    with scheduler(tmp_path) as (_, address), dask("worker", address, *options, first=lacks):
        out = str(tmp_path / "out")
        assert main([command, *SMALL, "--scheduler", address, "--out", out]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is eventdiff installed there?" in error


def test_a_cluster_without_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was found, but nothing was run: no verdict."""
    with scheduler(tmp_path) as (_, address):
        told = [*SMALL, "--time", "1", "--out", str(tmp_path / "out")]
        assert main(["fuzz", "--scheduler", address, *told]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["fuzz", "explore"])
@pytest.mark.parametrize("where", ["", "there", "tcp://nosuchhost:1", "tcp://127.0.0.1:1"])
def test_no_scheduler_there(
    where: str,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("fuzz.cli.cluster.PATIENCE", 0.5)
    out = tmp_path / "out"
    assert main([command, *SMALL, "--scheduler", where, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert repr(where) in error


@pytest.mark.parametrize("command", [["fuzz"], ["explore"], ["explore", "--judge"]])
def test_without_dask(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([*command, *SMALL, "--cluster", "2", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "kvm-eventdiff[cluster]" in error


@pytest.mark.parametrize("command", ["fuzz", "explore"])
def test_a_worker_of_another_version(
    command: str,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for client_side in ("fuzz.campaign.cluster", "fuzz.cli.pool"):
        monkeypatch.setattr(f"{client_side}.program", lambda: "another")
    assert main([command, *SMALL, "--scheduler", address, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "another version" in error


@pytest.mark.parametrize("command", [["fuzz", "--time", "60"], ["explore", "--depth", "3"]])
def test_what_is_wrong_with_a_variant_is_said_of_the_users_file(
    command: list[str], address: str, tmp_path: Path
) -> None:
    own = tmp_path / "mine.py"
    own.write_text(RAISES)
    told = [*command, "--scheduler", address, "--out", str(tmp_path / "out"), "--vendor", "svm"]
    told += ["--variants", "original", "--variant", str(own)]
    ran = subprocess.run([sys.executable, "-m", "fuzz.cli", *told], capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr == f"eventdiff: {own}:8: variant mine: ValueError: mine\n"


@pytest.mark.parametrize("judged", [[], ["--judge"]])
def test_exploring_on_a_cluster(
    judged: list[str], address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gives what exploring here does, to the letter."""
    asked = ["explore", *judged, *SMALL, "--depth", "3", "--json"]
    told = []
    for number, where in enumerate([[], ["--scheduler", address]]):
        assert main([*asked, *where, "--out", str(tmp_path / str(number))]) == 1
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]


@pytest.mark.parametrize("clustered", [False, True])
def test_an_exploration_that_is_interrupted(
    clustered: bool, client: Client, address: str, tmp_path: Path
) -> None:
    """What it has found by then is reported, and that it did not come to an end."""
    command = [sys.executable, "-m", "fuzz.cli", "explore", "--out", str(tmp_path)]
    command += ["--scheduler", address] if clustered else []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        while not (children_of(process.pid) or any(client.processing().values())):
            time.sleep(0.1)
        time.sleep(5)
        process.send_signal(signal.SIGINT)
    told = json.loads((tmp_path / "certificate.json").read_text())
    assert process.returncode == (1 if told["signatures"] else 2)
    assert not told["fixpoint"]


def test_inputs_are_kept_that_hit_something_new(tmp_path: Path) -> None:
    """Together they hit what all of them do, and each is needed for that when it comes."""
    subject, steps = compared("svm", choose("", [])), SCHEDULE.steps
    some = [steps, steps[:2], steps * 2, steps[:1], steps[1:], steps]
    inputs = [fuzz_input(SCHEDULE._replace(steps=one)) for one in some]
    (tmp_path / "seed").write_bytes(inputs[1])
    corpus, everything = Corpus(tmp_path, Cover(subject)), Cover(subject)
    corpus.take(Input(one) for one in inputs)
    for data in inputs:
        everything.grows(data)
    assert len(Corpus(tmp_path, Cover(subject)).hit) == len(everything.hit)
    left = corpus.inputs()
    assert inputs[1] in left
    assert inputs[3] not in left
    assert len(left) < len(inputs)
