"""What `eventdiff fuzz` is asked: ends, certificates, places."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.cli.ends import CERTIFICATE, certified, duration, wanted_by
from fuzz.cli.main import main
from variants.catalogue import choose


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said, in one line, of options that cannot be."""
    assert main(["fuzz", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("wrong", ["--time=", "--until-quiet=", "--time=h", "--junit=no/x.xml"])
def test_wrong_options_are_refused_before_anything_runs(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status: object = main(["fuzz", "--out", "campaign", wrong])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert wrong.partition("=")[0] in capsys.readouterr().err
    assert not Path("campaign").exists()


@given(st.integers(1, 2000), st.sampled_from(["", "s", "m", "h", "d"]))
def test_durations(number: int, unit: str) -> None:
    seconds = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert duration(f"{number}{unit}") == number * seconds


def test_a_certificate_of_other_variants_would_never_be_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "campaign"
    options = ["--variants", "original,yadong", "--out", str(out)]
    error = refused([*options, "--until-complete", str(CERTIFICATE)], capsys)
    assert "is of original, paolo, yadong, not of original, yadong" in error
    assert not out.exists()


def test_a_certificate_of_other_code_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = choose("", [])
    wanted = wanted_by(CERTIFICATE, ("svm",), variants)
    assert wanted == certified(("svm",), variants)
    assert capsys.readouterr().err == ""
    told = json.loads(CERTIFICATE.read_text())
    path = tmp_path / "older.json"
    path.write_text(json.dumps({**told, "machine": "other"}))
    assert wanted_by(path, ("svm",), variants) == wanted
    assert str(path) in capsys.readouterr().err


def test_a_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "file"
    place.write_text("mine")
    assert "--out" in refused(["--out", str(place)], capsys)
    assert place.read_text() == "mine"
