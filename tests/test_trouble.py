"""What a variant does to the process that runs it is no verdict."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.kills import children_of, commands, wait_until
from fuzz.cli.main import main
from fuzz.compare import watch

ROOT = Path(__file__).parent.parent
CASE = str(ROOT / "corpus" / "seeds" / "svm-init-startup.yaml")
VARIANT = """
import itertools, os, sys
from variants.variant import Variant, replaces
from variants.machine import events
from variants.machine.vcpu import Vcpu

{first}


@replaces(events.kvm_apic_accept_events)
def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    if vcpu.pending_events:
        {then}
    events.kvm_apic_accept_events(vcpu)


VARIANT = Variant("mine", "does harm", (kvm_apic_accept_events,))
"""
BAD = {
    "exits at import": VARIANT.format(first="sys.exit(0)", then="pass"),
    "ends at import": VARIANT.format(first="os._exit(0)", then="pass"),
    "exits": VARIANT.format(first="", then="sys.exit(0)"),
    "ends": VARIANT.format(first="", then="os._exit(0)"),
    "raises what is no Exception": VARIANT.format(first="", then="raise GeneratorExit"),
}
LOOPS = VARIANT.format(first="", then="while True: pass")
COMMANDS = {
    "replay": ("replay", CASE),
    "minimize": ("minimize", CASE),
    "explore": ("explore", "--no-races", "--depth", "3", "--vendor", "svm"),
    "explore both": ("explore", "--no-races", "--depth", "3"),
    "fuzz": ("fuzz", "--time", "500"),
}


def run(folder: Path, variant: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`eventdiff ARGUMENTS --variant FILE`, as a user runs it."""
    own = folder / "mine.py"
    own.write_text(variant)
    out = () if arguments[0] in ("replay", "minimize") else ("--out", str(folder / "out"))
    command = [sys.executable, "-m", "fuzz.cli", *arguments, *out, "--variant", str(own)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("what", BAD)
def test_an_end_is_no_verdict(what: str, command: str, tmp_path: Path) -> None:
    ran = run(tmp_path, BAD[what], *COMMANDS[command])
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert str(tmp_path / "mine.py") in ran.stderr


@pytest.mark.parametrize("command", ["replay", "minimize", "explore"])
def test_a_step_that_does_not_end(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watch, "PERIOD", 0.2)
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "mine.py"
    own.write_text(LOOPS)
    assert main([*COMMANDS[command], "--variant", str(own)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{own}:" in error
    assert "variant mine" in error
    assert "does not end" in error


def test_a_step_that_stands_still_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As all do where the machine does."""
    monkeypatch.setattr(watch, "PERIOD", 0.1)
    own = tmp_path / "mine.py"
    own.write_text(VARIANT.format(first="import time", then="time.sleep(0.5)"))
    assert main(["replay", CASE, "--variant", str(own)]) == 0
    assert not capsys.readouterr().err


def test_a_step_that_does_not_end_ends_a_campaign(tmp_path: Path) -> None:
    ran = run(tmp_path, LOOPS, "fuzz", "--time", "500")
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "variant mine" in ran.stderr
    assert "does not end" in ran.stderr


def test_a_campaign_ends_on_time_whatever_its_processes_do(tmp_path: Path) -> None:
    """No exception gets through to what loops outside Python."""
    deaf = "'target' in sys.argv[0] and sum(itertools.repeat(0))"
    ran = run(tmp_path, VARIANT.format(first="", then=deaf), "fuzz", "--time", "1")
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "does not end" in ran.stderr
    assert str(tmp_path / "mine.py") in ran.stderr
    assert "signatures" in json.loads((tmp_path / "out" / "campaign.json").read_text())


def test_what_nobody_expects_is_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list in a vCPU's state cannot be looked up."""
    own = tmp_path / "mine.py"
    own.write_text(VARIANT.format(first="", then="vcpu.sipi_vector = []"))
    assert main(["replay", "--variant", str(own), CASE]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "TypeError" in error


@pytest.mark.parametrize("seed", ["-1", "x", "4294967296", "99999999999999999999"])
def test_a_seed_fits_libfuzzer(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fuzz", "--seed", seed])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_campaign_with_a_variant_of_ones_own_can_be_interrupted(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text(VARIANT.format(first="", then="pass"))
    command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--time", "600"]
    command += ["--variants", "original,paolo", "--variant", str(own), "--vendor", "svm"]
    command += ["--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as ran:
        assert ran.stdout is not None
        ran.stdout.readline()
        ran.terminate()
        rest = ran.stdout.read()
    assert ran.returncode == 1
    assert "findings; see" in rest


def test_explorers_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fuzz.cli", "explore", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        while len(children := children_of(process.pid)) < 2:
            time.sleep(0.05)
        process.kill()
    wait_until(lambda: not commands().keys() & set(children))


def test_output_that_cannot_be_written_is_trouble() -> None:
    command = [sys.executable, "-m", "fuzz.cli", "replay", CASE]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
