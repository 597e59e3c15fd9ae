"""What the project claims, seen on real KVM."""

import json
from pathlib import Path
from typing import Any

import pytest

from fuzz.cli.main import main
from fuzz.report.folder import slug_of
from fuzz.report.trace import WIDTH
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import races
from fuzz.schedule.text import dump
from tests.live.running import SEEDS, eventdiff
from tests.test_machine import migrated_in_smm, smm_after_a_reset_in_vmx_operation
from variants.live.bochs import ENOUGH, bochs_of
from variants.live.cache import builds

CLAIM_1 = SEEDS / "svm-sipi-in-l2-then-hlt.yaml"
CLAIM_2 = SEEDS / "svm-sipi-in-l1-then-hlt.yaml"
YADONG = SEEDS / "vmx-yadong-procedure.yaml"
THREE = "original,yadong,paolo"
RACE = """format: 1
name: a-race
vendor: svm
vcpus: 2
steps:
- icr: {from: 0, to: 1, mode: sipi, at: handled}
- hlt: {on: 1}
"""
SMI_IN_L2S_START_CODE = """format: 1
vendor: svm
vcpus: 2
steps:
- vmrun: {on: 1, intercept: []}
- set-mp-state: {on: 1, state: SIPI_RECEIVED}
- nop: {on: 1}
- smi: {to: 1}
- nop: {on: 1}
- rsm: {on: 1}
- nop: {on: 1}
"""


NMI_AFTER_SMM = """format: 1
name: nmi-after-another-vcpus-smm
vendor: vmx
vcpus: 2
steps:
- smi: {to: 0}
- nop: {on: 0}
- nop: {on: 1}
- nmi: {to: 1}
- nop: {on: 1}
"""


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_both_claims_on_three_svm_kernels(cache: Path) -> None:
    run = eventdiff(cache, "live", "run", "--json", "--variants", THREE, CLAIM_1, CLAIM_2)
    assert run.returncode == 1, run.stderr
    first, second = objects(run.stdout)
    assert list(first["traces"]) == ["original", "yadong", "paolo"]
    assert first["divergences"] == [{"step": 3, "groups": [["original", "paolo"], ["yadong"]]}]
    assert second["divergences"] == [{"step": 2, "groups": [["original", "yadong"], ["paolo"]]}]
    for shown, loser in ((first, "yadong"), (second, "paolo")):
        ends = {name: trace[-1]["outcome"] for name, trace in shown["traces"].items()}
        assert ends.pop(loser) in ("l1", "l2")
        assert set(ends.values()) == {"blocked"}


def test_the_vmx_procedure_in_bochs(cache: Path) -> None:
    run = eventdiff(cache, "live", "run", "--json", "--variants", "yadong", YADONG)
    assert run.returncode == 0, run.stderr
    (shown,) = objects(run.stdout)
    trace = shown["traces"]["yadong"]
    exits = [step["nested_exit"] for step in trace if step["nested_exit"]]
    assert [one["reason"] for one in exits] == ["INIT_SIGNAL", "SIPI_SIGNAL"]
    assert exits[1]["qualification"] == 0x9A
    assert trace[5]["outcome"] == "blocked"
    assert [step["outcome"] for step in trace[8:]] == ["l1", "l1", "l2", "l2"]


def test_old_bochs_alone_loses_an_nmi(cache: Path, tmp_path: Path) -> None:
    """In whichever Bochs is set up: nothing is excused in a new one."""
    schedule = tmp_path / "nmi.yaml"
    schedule.write_text(NMI_AFTER_SMM)
    run = eventdiff(cache, "live", "conform", "--variants", "paolo", schedule)
    assert run.returncode == 0, run.stderr
    old = (bochs_of(builds(cache, ["paolo"]).values()) or ENOUGH) < ENOUGH
    assert ("quirk bochs-nmi-blocking: 1" in run.stdout) == old
    assert ("5 of 5 steps agree" in run.stdout) == (not old)


def test_replay_live_shows_both(plain_cache: Path, tmp_path: Path) -> None:
    race = tmp_path / "race.yaml"
    race.write_text(RACE)
    run = eventdiff(plain_cache, "replay", "--live", CLAIM_1, race)
    assert run.returncode == 1, run.stderr
    assert max(map(len, run.stdout.splitlines())) <= WIDTH
    assert "  model  blocked                l2 woke                blocked\n" in run.stdout
    assert "  live   blocked                l2 woke                blocked\n" in run.stdout
    assert "yadong: live KVM agrees with the model in 4 of 4 steps" in run.stdout
    assert run.stdout.endswith("model only: yadong: a race, and the build is not instrumented\n")


def test_replay_live_json_adds_one_key(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTDIFF_CACHE", str(cache))
    assert main(["replay", "--json", str(CLAIM_1)]) == 1
    (plain,) = objects(capsys.readouterr().out)
    assert main(["replay", "--live", "--json", str(CLAIM_1)]) == 1
    (both,) = objects(capsys.readouterr().out)
    assert both.pop("live") == plain["traces"]
    assert both == plain


def test_a_campaign_is_confirmed(plain_cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "campaign"
    run = eventdiff(
        plain_cache,
        *("fuzz", "--time", "6", "--vendor", "svm", "--confirm", "--json", "--out"),
        out,
    )
    assert run.returncode == 1, run.stderr
    signatures = json.loads(run.stdout)["signatures"]
    assert {one["live"] for one in signatures} == {"confirmed on real KVM", "model only"}
    for one in signatures:
        reproducer = out / slug_of(one["signature"]) / "reproducer.yaml"
        if one["kind"] == "latent" or races(read_schedule(str(reproducer))):
            assert one["live"] == "model only"
        elif one["kind"] == "liveness" and "SIPI in L" in one["signature"]:
            assert one["live"] == "confirmed on real KVM"
    assert len(list(out.glob("*/live.txt"))) == len(signatures)
    assert "confirmed on real KVM" in (out / "summary.md").read_text()


def test_models_and_real_kvm_agree(cache: Path) -> None:
    """All seeds on both vendors, and 60 SVM schedules sampled for what they reach."""
    run = eventdiff(cache, "live", "conform", "--json", "--samples", "60,0", SEEDS)
    assert run.returncode == 0, run.stdout + run.stderr
    counts = json.loads(run.stdout)
    for vendor, schedules in (
        ("svm", 60 + len(list(SEEDS.glob("svm-*")))),
        ("vmx", len(list(SEEDS.glob("vmx-*")))),
    ):
        for name in ("original", "yadong", "paolo"):
            tally = counts[vendor][name]
            assert tally["schedules"] == schedules
            assert tally["agree"] == tally["steps"] > 0


def test_conformance_stays_where_it_was_found_wanting(cache: Path, tmp_path: Path) -> None:
    """RSM back to L2, after a migration with events pending, and into start code."""
    for number, schedule in enumerate(migrated_in_smm() + smm_after_a_reset_in_vmx_operation()):
        (tmp_path / f"{schedule.vendor}-{number}.yaml").write_text(dump(schedule))
    (tmp_path / "svm-start-code.yaml").write_text(SMI_IN_L2S_START_CODE)
    run = eventdiff(cache, "live", "conform", "--json", tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    for vendor, tallies in json.loads(run.stdout).items():
        for tally in tallies.values():
            assert tally["schedules"] == len(list(tmp_path.glob(f"{vendor}-*")))
