"""Batches in guests that are up show what they do in boots of their own; what ends, ends them."""

import difflib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fuzz.compare.compared import compared
from fuzz.live.novelty import walks
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import races
from fuzz.schedule.text import schedule_json
from tests.live.running import ROOT, SEEDS, environment, eventdiff, processes_in, wait_for
from variants.catalogue import choose
from variants.live.cache import builds
from variants.live.entries import read_setup
from variants.live.guests import Guests, guests
from variants.live.observe import Observation
from variants.live.protocol import Schedule, encode
from variants.live.runner import Report, run, run_variants
from variants.machine.step import Vendor

NAMES = ("original", "paolo")


def short(name: str, vector: int) -> Schedule:
    """A start of vCPU 1."""
    init, sipi = ({"from": 0, "to": 1, "mode": mode} for mode in ("init", "sipi"))
    steps = [{"icr": init}, {"icr": {**sipi, "vector": vector}}, {"nop": {"on": 1}}]
    return {"format": 1, "name": name, "vendor": "svm", "vcpus": 2, "steps": steps}


START = [short(f"start-{vector}", vector) for vector in range(4)]


@pytest.mark.parametrize("vendor", ["svm", "vmx"])
def test_both_ways_show_the_same(cache: Path, vendor: Vendor) -> None:
    """Of seeds and walks: in kept VMs in one batch, and in fresh ones in another."""
    seeds = [read_schedule(str(file)) for file in sorted(SEEDS.glob(f"{vendor}-*.yaml"))]
    base = compared(vendor, choose("original", [], least=1))
    chosen = [*(one for one in seeds if not races(one)), *walks(base, 30, seed=1)]
    plain = [schedule_json(one) for one in chosen]
    those = builds(cache, NAMES)
    booted, _ = run_variants(plain, those, vendor, 2, fresh=False)
    with guests() as up:
        run_variants(plain[:1], those, vendor, 2, guests=up)
        for fresh in (False, True):
            shown, reports = run_variants(plain, those, vendor, 2, fresh=fresh, guests=up)
            assert [one.troubles for one in reports.values()] == [[], []]
            assert [one.boots for one in reports.values()] == [0, 0]
            assert shown == booted
    assert any(booted[NAMES[0]][n] != booted[NAMES[1]][n] for n in range(len(plain)))


def test_schedules_of_one_variant_are_dealt_to_several_emulators(cache: Path) -> None:
    """They come back in order, and the emulators stay up."""
    plain = [short(f"start-{vector}", vector) for vector in range(110)]
    those = builds(cache, ["original"])
    alone, _ = run_variants(plain, those, "svm", 1)
    with guests() as up:
        counts = []
        for _ in range(2):
            shown, reports = run_variants(plain, those, "svm", 2, guests=up)
            assert shown == alone
            assert sorted(reports["original"].ended) == list(range(110))
            counts.append(reports["original"].boots)
    assert counts == [2, 0]


def test_a_batch_that_is_long_is_run_by_a_boot(cache: Path) -> None:
    build = builds(cache, ["original"])["original"]
    steps = [{"get-mp-state": {"on": 1}}] * 4000
    long = [{**short(f"long-{n}", 0), "steps": steps} for n in range(6)]
    assert len("".join(encode(n, one) for n, one in enumerate(long))) > 200_000
    counts = []
    with guests() as up:
        for batch in (START, long, START):
            report = Report([])
            run(batch, build, "svm", report, fresh=False, guests=up)
            counts.append(report.boots)
    assert counts == [1, 1, 0]


def test_only_those_used_last_are_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("variants.live.guests.MOST", 2)
    build = builds(cache, ["original"])["original"]
    same = []
    for name in ("first", "second", "third"):
        (tmp_path / name).symlink_to(build.modules)
        same.append(replace(build, modules=tmp_path / name))
    counts = []
    with guests() as up:
        for one in (*same, *reversed(same)):
            report = Report([])
            run(START, one, "svm", report, guests=up)
            counts.append(report.boots)
        pids = [one.running.process.pid for _, one in up.up]
    assert counts == [1, 1, 1, 0, 0, 1]
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def breaking_patch(cache: Path) -> str:
    """A kernel that ends in a SIPI with vector 0xEE, and in 0xDD waits for an hour."""
    file = "arch/x86/kvm/lapic.c"
    kernel = cache / read_setup(cache).variants["original"].kernel
    old = (kernel / "source" / file).read_text()
    call = "kvm_vcpu_deliver_sipi_vector("
    at = old.rindex("\n", 0, old.index(call)) + 1
    added = (
        "BUG_ON(apic->sipi_vector == 0xee);\n"
        "if (apic->sipi_vector == 0xdd) schedule_timeout_killable(3600 * HZ);\n"
    )
    new = old[:at] + added + old[at:]
    names = (f"a/{file}", f"b/{file}")
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), *names))


def test_what_breaks_costs_only_itself(own_cache: Path, tmp_path: Path) -> None:
    patch = tmp_path / "breaking.patch"
    patch.write_text(breaking_patch(own_cache))
    done = eventdiff(own_cache, "live", "setup", "--kernel-patch", patch)
    assert done.returncode == 0, done.stderr
    build = builds(own_cache, ["breaking"])["breaking"]

    def ran(
        batch: Sequence[Schedule], up: Guests | None = None
    ) -> tuple[list[list[Observation]], list[str], int]:
        report = Report([])
        traces = run(batch, build, "svm", report, fresh=False, guests=up)
        return traces, report.troubles, report.boots

    ends = [*START[:2], short("ends", 0xEE), *START[2:]]
    hangs = [*START[:2], short("hangs", 0xDD), *START[2:]]
    ended, troubles, boots = ran(ends)
    assert boots == 3
    run_again, given_up = troubles
    assert run_again.startswith("ends: QEMU ended (status 0): kernel BUG at ")
    assert run_again.endswith(", run again")
    assert given_up.endswith(", given up at step 2")
    with guests() as up:
        assert ran(START, up)[2] == 1
        assert ran(ends, up) == (ended, troubles, 2)
        assert ran(START, up)[2] == 0
        hung, troubles, boots = ran(hangs, up)
        assert (troubles, boots) == (["hangs: the agent hung at step 2"], 0)
        assert (hung[:2], hung[3:]) == (ended[:2], ended[3:])
        assert ran(START, up)[2] == 1


ENDLESS = """
from tests.live.test_guests import NAMES, START
from variants.live.cache import builds
from variants.live.guests import guests
from variants.live.runner import run_variants

with guests() as up:
    while True:
        run_variants(START, builds(None, NAMES), "svm", 2, guests=up)
        print("batch", flush=True)
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_who_starts_guests_leaves_none(cache: Path, tmp_path: Path, by: signal.Signals) -> None:
    """A killed one leaves folders, but the emulators go with their terminal, stopped or not."""
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**environment(cache), "TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as endless:
        assert endless.stdout
        for _ in range(3):
            assert endless.stdout.readline() == "batch\n"
        assert len(processes_in(tmp_path)) == len(NAMES)
        os.kill(endless.pid, by)
    wait_for(lambda: not processes_in(tmp_path), 10)
    if by == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []
