"""`eventdiff fuzz --live`: real kernels, from an empty corpus."""

import difflib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fuzz.live_campaign.coverage import PAGE
from tests.live.running import SEEDS, eventdiff, processes_in, start, wait_for
from tests.live.test_kernel_patch import FILE, source_of
from tests.live.test_review import before, reviewed

PAIR = ("--variants", "original,paolo")
CLAIM = "liveness: original | paolo: step: outcome: waits | goes on"
PATIENCE = 900
"""Seconds in which a claim is found; ten on an idle machine, after the boots."""


def told_in(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "campaign.json").read_text())
    return told


def signatures(out: Path) -> set[str]:
    """Those so far."""
    there = (out / "campaign.json").exists()
    return {one["signature"] for one in told_in(out)["signatures"]} if there else set()


def counted(out: Path) -> int:
    """How many schedules the processes of the session have run."""
    return sum(int(path.read_text().split()[0]) for path in (out / "work").glob("*.count"))


@pytest.mark.parametrize("vendor", ["svm", "vmx"])
def test_the_claim_is_found_from_nothing(cache: Path, tmp_path: Path, vendor: str) -> None:
    """And Ctrl-C ends it with its reports, and with all that it has started."""
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    options = ("--vendor", vendor, "--seed", "1", "--time", "1d", "--out", out, "--json")
    with start(cache, scratch, "fuzz", "--live", *PAIR, *options) as run:
        wait_for(lambda: f"{vendor}: {CLAIM}" in signatures(out), PATIENCE, run)
        os.kill(run.pid, signal.SIGINT)
        printed, errors = run.communicate()
    assert run.returncode == 1, errors
    assert list(scratch.iterdir()) == []
    told = json.loads(printed)
    assert told == told_in(out)
    assert 0 < counted(out) == told["schedules"]
    assert list((out / "corpus" / vendor).iterdir())
    claim = next(one for one in told["signatures"] if one["signature"] == f"{vendor}: {CLAIM}")
    assert claim["length"] == 2
    assert claim["repeats"] == [3, 3]
    folder = out / f"{vendor}-liveness-original-vs-paolo-step-outcome-waits-vs-goes-on"
    again = eventdiff(cache, "live", "run", "--json", *PAIR, folder / "reproducer.yaml")
    expected = json.loads((folder / "expected.json").read_text())
    assert json.loads(again.stdout).items() >= expected.items()


def test_one_that_was_killed_goes_on(cache: Path, tmp_path: Path) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    options = ("--vendor", "svm", "--out", out)
    with start(cache, scratch, "fuzz", "--live", *PAIR, *options, "--time", "1d") as run:
        wait_for(lambda: bool(signatures(out)), PATIENCE, run)
        before = counted(out)
        run.kill()
        run.communicate()
    wait_for(lambda: not processes_in(scratch) and not processes_in(out))
    known = signatures(out)
    with start(cache, scratch, "fuzz", "--out", out, "--resume", "--time", "20", "--json") as run:
        printed, errors = run.communicate()
    assert run.returncode == 1, errors
    told = json.loads(printed)
    assert told["session"]["number"] == 2
    assert told["schedules"] >= told["session"]["schedules"] >= before > 0
    assert {one["signature"] for one in told["signatures"]} >= known
    assert not told["gone"]


def first_vector_patch(cache: Path) -> tuple[str, int]:
    """A patch of two hunks, and a line of its second: of two SIPIs that are sent with different
    vectors before the vCPU looks the first counts. The covering set sends one vector only."""
    old = (source_of(cache) / FILE).read_text()
    new = before(
        old, "int kvm_apic_set_irq(", "return __apic_accept_irq(", "READ_ONCE(vcpu->mode);"
    )
    looks = "kvm_make_request(KVM_REQ_EVENT, vcpu);"
    pending = "test_bit(KVM_APIC_SIPI, &apic->pending_events)"
    other = "apic->sipi_vector && apic->sipi_vector != vector"
    kept = f"if ({pending} && {other}) {{\n\t\t\t{looks}\n\t\t\tbreak;\n\t\t}}"
    new = before(new, "int __apic_accept_irq(", "apic->sipi_vector = vector;", kept)
    names = (f"a/{FILE}", f"b/{FILE}")
    diff = "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), *names))
    return diff, new[: new.index(kept)].count("\n") + 2


def test_a_hunk_that_a_review_does_not_reach(own_cache: Path, tmp_path: Path) -> None:
    diff, line = first_vector_patch(own_cache)
    patch, out, scratch = tmp_path / "first-vector.patch", tmp_path / "out", tmp_path / "scratch"
    patch.write_text(diff)
    scratch.mkdir()
    status, told = reviewed(own_cache, patch, tmp_path / "review", 10)
    assert (status, told["findings"]) == (0, [])
    assert f"{FILE}:{line}" in told["reached"]["not_reached"]
    run = eventdiff(own_cache, "live", "setup", "--instrument", "first-vector")
    assert run.returncode == 0, run.stderr
    options = ("--variants", "original,first-vector", "--vendor", "svm", "--seed", "1")
    more = ("--corpus", SEEDS, "--time", "1d", "--out", out, "--json")
    with start(own_cache, scratch, "fuzz", "--live", *options, *more) as fuzz:
        wait_for(lambda: bool(signatures(out)), PATIENCE, fuzz)
        os.kill(fuzz.pid, signal.SIGINT)
        printed, errors = fuzz.communicate()
    assert fuzz.returncode == 1, errors
    (row,) = [one for one in (out / PAGE).read_text().splitlines() if f"{FILE}:{line} " in one]
    hunk, _, verdict, schedules = row.strip("| ").split(" | ")
    assert (hunk, verdict) == ("2", "reached")
    assert 0 < int(schedules) < counted(out)
    for one in json.loads(printed)["signatures"]:
        sent = [step["icr"] for step in one["ways"][0]["steps"] if "icr" in step]
        vectors = {message.get("vector", 0) for message in sent if message["mode"] == "sipi"}
        assert len(vectors) > 1, one
        assert one["repeats"] == [3, 3]


def test_kernels_have_to_be_instrumented(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = eventdiff(cache, "fuzz", "--live", "--variants", "original,linux-6.18", "--out", out)
    assert run.returncode == 2
    assert "linux-6.18" in run.stderr
    assert run.stderr.count("\n") == 1
    assert not out.exists()
