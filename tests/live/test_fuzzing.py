"""`eventdiff fuzz --live`: real kernels, from an empty corpus."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.live.running import eventdiff, processes_in, start, wait_for

PAIR = ("--variants", "original,paolo")
CLAIM = "liveness: original | paolo: step: outcome: waits | goes on"


def told_in(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "campaign.json").read_text())
    return told


def counted(out: Path) -> int:
    """How many schedules the processes of the session have run."""
    return sum(int(path.read_text().split()[0]) for path in (out / "work").glob("*.count"))


@pytest.mark.parametrize("vendor", ["svm", "vmx"])
def test_the_claim_is_found_from_nothing(cache: Path, tmp_path: Path, vendor: str) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    options = ("--vendor", vendor, "--seed", "1", "--time", "60", "--out", out, "--json")
    with start(cache, scratch, "fuzz", "--live", *PAIR, *options) as run:
        printed, errors = run.communicate()
    assert run.returncode == 1, errors
    told = json.loads(printed)
    assert told == told_in(out)
    found = {one["signature"]: one for one in told["signatures"]}
    claim = found[f"{vendor}: {CLAIM}"]
    assert claim["length"] == 2
    assert claim["repeats"] == [3, 3]
    assert told["schedules"] > 50
    assert list((out / "corpus" / vendor).iterdir())
    assert list(scratch.iterdir()) == []
    (folder,) = out.glob(f"{vendor}-liveness-original-vs-paolo-step-outcome-waits-vs-goes-on")
    again = eventdiff(cache, "live", "run", "--json", *PAIR, folder / "reproducer.yaml")
    expected = json.loads((folder / "expected.json").read_text())
    assert json.loads(again.stdout).items() >= expected.items()


def test_one_that_was_killed_goes_on(cache: Path, tmp_path: Path) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    options = ("--vendor", "svm", "--out", out)
    with start(cache, scratch, "fuzz", "--live", *PAIR, *options, "--time", "1h") as run:
        wait_for(lambda: bool(told_in_if_there(out)), 240)
        before = counted(out)
        run.kill()
        run.communicate()
    wait_for(lambda: not processes_in(scratch) and not processes_in(out))
    known = told_in_if_there(out)
    going_on = ("--resume", "--time", "15", "--json")
    with start(cache, scratch, "fuzz", "--out", out, *going_on) as run:
        printed, errors = run.communicate()
    assert run.returncode == 1, errors
    told = json.loads(printed)
    assert told["session"]["number"] == 2
    assert told["schedules"] >= told["session"]["schedules"] >= before > 0
    assert {one["signature"] for one in told["signatures"]} >= set(known)
    assert not told["gone"]


def told_in_if_there(out: Path) -> list[str]:
    """The signatures so far."""
    there = (out / "campaign.json").exists()
    return [one["signature"] for one in told_in(out)["signatures"]] if there else []


def test_ctrl_c_ends_it_with_its_report(cache: Path, tmp_path: Path) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    options = ("--vendor", "svm", "--out", out)
    with start(cache, scratch, "fuzz", "--live", *PAIR, *options) as run:
        wait_for(lambda: bool(told_in_if_there(out)), 240)
        os.kill(run.pid, signal.SIGINT)
        _, errors = run.communicate()
    assert run.returncode == 1, errors
    assert list(scratch.iterdir()) == []
    assert "differences" in (out / "summary.md").read_text()
    show = eventdiff(cache, "show", out)
    assert show.returncode == 2
    assert "summary.md" in show.stderr
    assert show.stderr.count("\n") == 1


def test_kernels_have_to_be_instrumented(cache: Path, tmp_path: Path) -> None:
    run = eventdiff(
        cache, "fuzz", "--live", "--variants", "original,linux-6.18", "--out", tmp_path / "out"
    )
    assert run.returncode == 2
    assert "linux-6.18" in run.stderr
    assert run.stderr.count("\n") == 1
