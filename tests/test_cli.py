"""The commands, as a user meets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.cli.main import main
from fuzz.report.folder import slug
from fuzz.report.trace import WIDTH, trace_text
from fuzz.schedule.text import load

ROOT = Path(__file__).parent.parent
CLAIM_1 = str(ROOT / "corpus" / "seeds" / "svm-sipi-in-l2-then-hlt.yaml")
AGREES = str(ROOT / "corpus" / "seeds" / "svm-init-startup.yaml")
FIELDS = [
    *("step", "on", "outcome", "executed", "vector", "nested_exit", "guest_mode", "gif", "vmxon"),
    *("smm", "latched_init", "mp_state", "taken", "woke", "warn"),
]
SAME = """
from variants.variant import Variant

VARIANT = Variant("same", "nothing changed")
"""
OWN = SAME.replace("same", "mine")
RAISES = """
from variants.variant import Variant, replaces
from variants.machine import events
from variants.machine.vcpu import Vcpu


@replaces(events.kvm_apic_accept_events)
def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    raise ZeroDivisionError


VARIANT = Variant("mine", "raises", (kvm_apic_accept_events,))
"""


def test_replay_json_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--json", CLAIM_1, AGREES]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["schedule"] == "svm-sipi-in-l2-then-hlt"
    assert first["vendor"] == "svm"
    assert list(first["traces"]) == ["original", "yadong", "paolo"]
    for trace in first["traces"].values():
        assert [list(observation) for observation in trace] == [FIELDS] * 4
    (divergence,) = first["divergences"]
    assert divergence["step"] == 3
    assert divergence["kind"] == "liveness"
    assert divergence["groups"] == [["original", "paolo"], ["yadong"]]
    assert second["divergences"] == []


def test_exit_status_follows_diff(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", CLAIM_1]) == 1
    assert main(["replay", AGREES]) == 0
    assert main(["replay", "--variants", "original,paolo", CLAIM_1]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "> 3. vCPU 1 executes HLT" in text


def test_convert_there_and_back(tmp_path: Path) -> None:
    code, back = tmp_path / "case", tmp_path / "back.yaml"
    assert main(["convert", CLAIM_1, str(code)]) == 0
    assert main(["convert", str(code), str(back)]) == 0
    assert load(back.read_text()) == load(Path(CLAIM_1).read_text())


def test_minimize_prints_a_reproducer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minimize", CLAIM_1]) == 1
    assert len(load(capsys.readouterr().out).steps) == 3
    assert main(["minimize", AGREES]) == 0


def test_own_variant_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "mine.py"
    own.write_text(OWN)
    assert main(["replay", "--variants", "original", "--variant", str(own), CLAIM_1]) == 0
    assert main(["replay", "--variants", "mine,yadong", "--variant", str(own), CLAIM_1]) == 1
    assert main(["variants", "--variant", str(own)]) == 0
    assert "mine" in capsys.readouterr().out


BAD = {
    "missing.yaml": None,
    "wrong.yaml": "format: 1\nvendor: svm\nvcpus: 2\nsteps:\n- fly: {on: 1}\n",
    "range.yaml": "format: 1\nvendor: svm\nvcpus: 2\nsteps:\n- hlt: {on: 3}\n",
    "vendor.yaml": "format: 1\nvendor: svm\nvcpus: 2\nsteps:\n- vmxon: {on: 1}\n",
    "broken.yaml": "a: [\n",
    "cut.bin": b"\x28\x00\x41",
    "latin.yaml": b"name: \xff\n",
    "empty": b"",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_schedule_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, content = tmp_path / name, BAD[name]
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    for command in ("replay", "minimize", "convert"):
        assert main([command, str(path)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(path) in error


@pytest.mark.parametrize(
    "content", ["raise RuntimeError('a\\nb')", "VARIANT = 1", "x =", "import no_such_module"]
)
def test_bad_variant_is_one_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "mine.py"
    own.write_text(content)
    assert main(["replay", "--variant", str(own), CLAIM_1]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(own) in error


@pytest.mark.parametrize("names", ["original", "original,nobody", "paolo,paolo"])
def test_bad_choice_of_variants(names: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--variants", names, CLAIM_1]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_variant_that_raises_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "mine.py"
    own.write_text(RAISES)
    assert main(["replay", "--variant", str(own), CLAIM_1]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "mine" in error


def test_a_variant_that_raises_ends_a_campaign(tmp_path: Path) -> None:
    """At once, wherever it raises: also while the mutator walks what it makes."""
    own = tmp_path / "mine.py"
    own.write_text(RAISES)
    command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--variant", str(own), "--time", "500"]
    command += ["--out", str(tmp_path / "campaign")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "variant mine" in run.stderr


def test_exploring_variants_that_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "mine.py"
    own.write_text(SAME)
    out = tmp_path / "deep" / "out"
    chosen = ["--variants", "original", "--variant", str(own), "--vendor", "svm"]
    assert main(["explore", "--no-races", "--depth", "3", *chosen, "--out", str(out)]) == 0
    assert json.loads((out / "certificate.json").read_text())["signatures"] == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["my: fix", "a | b", ""])
def test_a_variant_has_a_word_for_a_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "mine.py"
    own.write_text(SAME.replace('"same"', repr(name)))
    assert main(["replay", "--variant", str(own), CLAIM_1]) == 2
    assert "one word" in capsys.readouterr().err


def test_a_campaign_reports_both_claims(tmp_path: Path) -> None:
    """The real thing, for a few seconds: fuzz, minimise, report, run the generated tests."""
    out = tmp_path / "campaign"
    command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--time", "6", "--json", "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 1, run.stderr
    campaign = json.loads(run.stdout)
    assert campaign == json.loads((out / "campaign.json").read_text())
    assert campaign["schedules"] > 0
    lengths = {
        (one["vendor"], one["kind"], *map(tuple, one["groups"])): one["length"]
        for one in reversed(campaign["signatures"])
        if "SIPI in L" in one["signature"] and "waits, another goes on" in one["signature"]
    }
    assert lengths["svm", "liveness", ("original", "paolo"), ("yadong",)] in (3, 4)
    assert lengths["svm", "liveness", ("original", "yadong"), ("paolo",)] in (2, 3)
    assert lengths["vmx", "liveness", ("original", "yadong"), ("paolo",)] in (2, 3)
    assert "signatures" in (out / "summary.md").read_text()
    told = [name for one in campaign["findings"] for name in one["signatures"]]
    assert sorted(told) == sorted(one["signature"] for one in campaign["signatures"])
    kept = [one for one in campaign["findings"] if one["title"].startswith("SIPI kept in L")]
    assert {tuple(one["groups"][1]) for one in kept} == {("yadong",), ("paolo",)}
    assert all("kvm_apic_accept_events" in one["functions"] for one in kept)
    for one in campaign["signatures"]:
        folder = out / slug(one["signature"])
        trace = (folder / "trace.txt").read_text()
        assert max(map(len, trace.splitlines())) <= WIDTH
        assert len(load((folder / "reproducer.yaml").read_text()).steps) == one["length"]
    generated = sorted(out.glob("*/test_reproducer.py"))[:3]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *map(str, generated)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert tests.returncode == 0, tests.stdout


def test_fuzzers_import_what_the_user_imports(tmp_path: Path) -> None:
    """A variant of one's own may use packages on PYTHONPATH."""
    own, library = tmp_path / "mine.py", tmp_path / "library"
    library.mkdir()
    (library / "helper.py").write_text("")
    own.write_text("import helper\n" + OWN)
    path = os.pathsep.join([str(library), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--time", "1", "--variants", "original"]
    run = subprocess.run(
        [*command, "--variant", str(own), "--out", str(tmp_path / "campaign")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert run.returncode == 0, run.stderr


def test_unwritable_report_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--time", "1"]
    run = subprocess.run(
        [*command, "--out", str(tmp_path / "file" / "x")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "Traceback" not in run.stderr


def test_trace_of_many_variants_still_fits() -> None:
    from fuzz.report.replay import automaton_of, replay
    from variants.catalogue import choose

    variants = choose("", [])
    schedule = load(Path(CLAIM_1).read_text())
    text = trace_text(replay(automaton_of("svm", variants * 3), schedule))
    assert max(map(len, text.splitlines())) <= WIDTH


def test_an_interrupted_campaign_is_reported(tmp_path: Path) -> None:
    out = tmp_path / "campaign"
    command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--time", "60", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.terminate()
        rest = run.stdout.read()
    assert run.returncode == 1
    assert "findings; see" in rest
    assert json.loads((out / "campaign.json").read_text())["signatures"]


def test_judge_says_who_breaks_which_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", CLAIM_1]) == 1
    told = capsys.readouterr().out
    assert "yadong: breaks sipi-kept" in told
    assert "[SDM 8.4, 25.2, 26.7.2; APM 16.5]" in told
    assert all(len(line) <= WIDTH for line in told.splitlines())
    assert main(["judge", AGREES]) == 0
    assert "no rule is broken" in capsys.readouterr().out


def test_judge_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "--json", "--variants", "original,yadong", CLAIM_1, AGREES]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["schedule"] == "svm-sipi-in-l2-then-hlt"
    assert first["vendor"] == "svm"
    (ruling,) = first["rulings"]["yadong"]
    assert (ruling["step"], ruling["rule"], ruling["ruling"]) == (3, "sipi-kept", "breaks")
    assert ruling["says"].startswith("SIPI")
    assert first["rulings"]["original"] == []
    assert second["rulings"] == second["kvm"] == {"original": [], "yadong": []}


def test_judge_of_no_schedule_is_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_explore_judge_tells_each_variant_alone(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["explore", "--judge", "--json", "--vendor", "svm", "--no-races"]
    assert main([*asked, "--steps", "usual", "--depth", "3"]) == 1
    found = json.loads(capsys.readouterr().out)
    kept = {one["variant"]: one for one in found["breaches"] if one["rule"] == "sipi-kept"}
    assert kept.keys() == {"yadong", "paolo"}
    assert [step["hlt"] for step in kept["paolo"]["schedule"]["steps"][-1:]] == [{"on": 1}]
    assert not found["fixpoint"]
