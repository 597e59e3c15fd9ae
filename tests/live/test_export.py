"""Exported C programs on real KVM: compiled with gcc, run in a guest system, no agent in it."""

from pathlib import Path

import pytest

from bench.programs import Ended, gcc, run_on
from tests.live.running import ROOT, SEEDS, eventdiff
from variants.machine.step import Vendor

FOUND = ROOT / "docs" / "found"
CLAIM_1 = SEEDS / "svm-sipi-in-l2-then-hlt.yaml"
YADONG = SEEDS / "vmx-yadong-procedure.yaml"
WARNS = """format: 1
name: warns
vendor: vmx
vcpus: 2
steps:
- vmxon: {on: 1}
- vmlaunch: {on: 1, activity: wait-for-sipi}
- icr: {from: 0, to: 1, mode: init}
- get-mp-state: {on: 1}
"""


def exported(cache: Path, folder: Path, schedule: Path, expect: str) -> Path:
    """The program of `export --c`, compiled."""
    source = folder / f"{schedule.stem}-{expect}.c"
    run = eventdiff(cache, *("export", "--c", schedule, "--expect", expect, "-o", source))
    assert run.returncode == 0, run.stderr
    assert not run.stdout + run.stderr
    return gcc(source.with_suffix(""), source)


def failing(ended: Ended) -> list[str]:
    return [line for line in ended.lines if line.startswith("not ok ")]


@pytest.mark.parametrize(("vendor", "variant"), [("svm", "original"), ("vmx", "paolo")])
def test_every_seed_passes_where_it_is_expected(
    cache: Path, tmp_path: Path, vendor: Vendor, variant: str
) -> None:
    seeds = sorted(SEEDS.glob(f"{vendor}-*.yaml"))
    programs = [exported(cache, tmp_path, seed, variant) for seed in seeds]
    for seed, ended in zip(seeds, run_on(cache, tmp_path, variant, vendor, programs), strict=True):
        count = seed.read_text().count("\n- ")
        assert ended.status == 0, ended
        assert ended.lines[:2] == ["TAP version 13", f"1..{count}"]
        assert sum(line.startswith("ok ") for line in ended.lines) == count
        assert not failing(ended)


def test_claim_1_fails_on_yadong_at_the_hlt(cache: Path, tmp_path: Path) -> None:
    program = exported(cache, tmp_path, CLAIM_1, "original")
    (ended,) = run_on(cache, tmp_path, "yadong", "svm", [program])
    assert ended.status == 1
    assert failing(ended) == ["not ok 4 - hlt: {on: 1}: blocked guest_mode"]
    at = ended.lines.index(failing(ended)[0])
    assert ended.lines[at + 1 : at + 3] == [
        "# expected: blocked guest_mode",
        "# saw: l2 woke guest_mode",
    ]


def test_vmx_fails_on_another_variant_and_svm_skips(cache: Path, tmp_path: Path) -> None:
    programs = [
        exported(cache, tmp_path, YADONG, "paolo"),
        exported(cache, tmp_path, CLAIM_1, "original"),
    ]
    fails, skips = run_on(cache, tmp_path, "original", "vmx", programs)
    assert fails.status == 1
    assert failing(fails)[0] == "not ok 2 - rdmsr: {on: 1}: l1 rdmsr:0x100 vmxon"
    assert skips.status == 4
    assert skips.lines == ["TAP version 13", "1..0 # SKIP this KVM has no nested SVM"]


def test_a_vcpu_that_is_sent_init_twice_and_a_sipi_starts(cache: Path, tmp_path: Path) -> None:
    program = gcc(tmp_path / "started-twice", "-DTRIALS=20", FOUND / "started-twice.c")
    (ended,) = run_on(cache, tmp_path, "original", "svm", [program])
    assert ended.status == 0
    assert ended.lines[1:] == ["1..1", "ok 1 - 0 of 20 times the vCPU did not start"]


def test_a_warning_is_seen_each_time(cache: Path, tmp_path: Path) -> None:
    schedule = tmp_path / "warns.yaml"
    schedule.write_text(WARNS)
    yadong, paolo = (exported(cache, tmp_path, schedule, name) for name in ("yadong", "paolo"))
    first, again, other = run_on(cache, tmp_path, "yadong", "vmx", [yadong, yadong, paolo])
    assert first.status == again.status == 0, (first, again)
    assert any("WARN kvm_apic_accept_events" in line for line in first.lines)
    (line,) = failing(other)
    assert line.startswith("not ok 4 - get-mp-state: {on: 1}: ")


def test_what_a_kernel_did_live_is_expected(cache: Path, tmp_path: Path) -> None:
    program = exported(cache, tmp_path, CLAIM_1, "linux-6.18")
    (ended,) = run_on(cache, tmp_path, "linux-6.18", "svm", [program])
    assert ended.status == 0, ended
