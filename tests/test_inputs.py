"""What a campaign is given to begin with."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.kills import run
from fuzz.campaign.inputs import add_inputs, given_in
from fuzz.cli.main import main
from fuzz.page.read import FolderError
from fuzz.schedule.codes import encode, fuzz_input, schedule_of_input
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.seeds import SEEDS
from fuzz.schedule.text import dump
from tests.strategies import schedules

SEED = read_schedule(str(SEEDS / "svm-sipi-in-l2-then-hlt.yaml"))


@given(schedule=schedules(), form=st.sampled_from(["yaml", "bytes", "input"]))
def test_a_schedule_in_any_form(
    schedule: Schedule, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("given")
    if form == "yaml":
        (folder / "case.yaml").write_text(dump(schedule))
    else:
        data = encode(schedule) if form == "bytes" else fuzz_input(schedule)
        (folder / "case").write_bytes(data)
    if not schedule.steps and form == "input":
        return
    (found,) = given_in(folder).schedules
    assert found[:3] == schedule[:3]


def test_bad_files_cost_only_themselves(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("steps: [")
    (tmp_path / "empty").touch()
    (tmp_path / "README").write_text("not a schedule")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "good.yaml").write_text(dump(SEED))
    given = given_in(tmp_path)
    assert given.schedules == [SEED]
    assert len(given.wrong) == 3
    assert all("\n" not in line and str(tmp_path) in line for line in given.wrong)


def test_nothing_to_begin_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FolderError):
        given_in(tmp_path)
    for place in (tmp_path, tmp_path / "none"):
        assert main(["fuzz", "--corpus", str(place), "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_inputs_stay_within_what_is_explored(tmp_path: Path) -> None:
    """Unless the campaign mixes."""
    mixed = read_schedule(str(SEEDS / "svm-init-startup.yaml"))
    steps = "- nmi: {to: 1}\n- smi: {to: 1}\n"
    path = tmp_path / "mixed.yaml"
    path.write_text(dump(mixed) + steps)
    given = given_in(path).schedules
    for mix, ops in ((True, ["nmi", "smi"]), (False, ["nmi"])):
        corpora = tmp_path / str(mix)
        (corpora / "svm").mkdir(parents=True)
        add_inputs(corpora, given, mix)
        (added,) = (corpora / "svm").iterdir()
        kept = schedule_of_input(added.read_bytes()).steps
        assert [step.op for step in kept[len(mixed.steps) :]] == ops


def test_a_campaign_begins_with_what_another_has(tmp_path: Path) -> None:
    """Its reproducers and its inputs, and a bad file is told."""
    other, out = tmp_path / "other", tmp_path / "out"
    (other / "corpus" / "svm").mkdir(parents=True)
    (other / "campaign.json").write_text('{"signatures": [], "schedules": 0, "seconds": 0}')
    steps = SEED.steps * 2
    (other / "corpus" / "svm" / "input").write_bytes(fuzz_input(SEED._replace(steps=steps)))
    (other / "finding").mkdir()
    (other / "finding" / "reproducer.yaml").write_text("steps: [")
    ended = run(out, "--time", "1", "--vendor", "svm", "--corpus", str(other))
    assert ended.returncode in (0, 1), ended.stderr
    assert ended.stderr.count("left out") == 1
    held = [schedule_of_input(path.read_bytes()) for path in (out / "corpus" / "svm").iterdir()]
    assert steps in [one.steps for one in held]
