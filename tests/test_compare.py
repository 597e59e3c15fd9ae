"""What two runs found differently, and what is known already."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.cli.main import main
from fuzz.findings.known import Known, known_yaml, read_known
from fuzz.report.changes import Shown, changes, renamed

NAMES = ("original", "yadong", "paolo")
PARTS = ("original | yadong", "original+paolo | yadong", "original | yadong | paolo")
SIGNATURES = st.builds(
    "{}: {}: {}: {}: hidden state".format,
    st.sampled_from(["svm", "vmx"]),
    st.sampled_from(["latent", "visible"]),
    st.sampled_from(PARTS),
    st.sampled_from(["SIPI in L1", "INIT at vmrun"]),
)
SHOWN = st.builds(
    Shown, st.integers(1, 9), st.sampled_from(["", "fix", "open"]), st.sampled_from(["", "x"])
)
RUNS = st.dictionaries(SIGNATURES, SHOWN)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20)


@given(RUNS, RUNS)
def test_each_signature_is_told_at_most_as_what_it_is(
    one: dict[str, Shown], other: dict[str, Shown]
) -> None:
    found, back = changes(one, other), changes(other, one)
    assert {each.signature for each in found.new} == other.keys() - one.keys()
    assert [each.signature for each in found.gone] == [each.signature for each in back.new]
    for each in found.shorter:
        assert other[each.signature].steps < one[each.signature].steps
        assert each.signature in {changed.signature for changed in back.changed}
    assert not any(changes(one, one))


@given(SIGNATURES)
def test_variants_called_otherwise_and_back(name: str) -> None:
    names = {"yadong": "v2", "paolo": "yadong"}
    there = renamed(name, names)
    assert renamed(there, {new: old for old, new in names.items()}) == name
    assert renamed(name, {}) == name


@given(known=st.dictionaries(TEXT.filter(bool), st.builds(Known, TEXT, TEXT, TEXT)))
def test_what_is_known_is_read_as_written(
    known: dict[str, Known], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("known") / "known.yaml"
    path.write_text(known_yaml(known))
    assert read_known(path) == known


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "- 1",
        "- title: x",
        "- {signature: 1}",
        "- {signature: x, ruling: y}",
        "a: [",
        "# A\n\na: b: c",
        "\x00",
    ],
)
def test_a_bad_list_of_what_is_known_is_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "known.yaml"
    path.write_text(text)
    for file in (path, tmp_path / "missing.yaml", tmp_path):
        assert main(["fuzz", "--known", str(file), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(file) in error
    assert not (tmp_path / "out").exists()


def run_file(path: Path, variants: str, **lengths: int) -> str:
    """A certificate of variants, with signatures by their cause."""
    base, other = variants.split(",")
    found = [
        {"signature": f"svm: latent: {base} | {other}: {cause}: hidden state", "length": length}
        for cause, length in lengths.items()
    ]
    path.write_text(json.dumps({"variants": {base: "", other: ""}, "signatures": found}))
    return str(path)


def test_versions_of_a_patch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = run_file(tmp_path / "one.json", "original,v1", INIT=3, SIPI=4, NMI=2)
    other = run_file(tmp_path / "other.json", "original,v2", INIT=3, SIPI=2, SMI=1)
    assert main(["compare", one, one]) == 0
    assert capsys.readouterr().out == "the same\n"
    assert main(["compare", "--json", one, other]) == 1
    told = json.loads(capsys.readouterr().out)
    by_kind = {kind: [each["signature"] for each in some] for kind, some in told.items()}
    assert by_kind == {
        "new": ["svm: latent: original | v1: SMI: hidden state"],
        "gone": ["svm: latent: original | v1: NMI: hidden state"],
        "shorter": ["svm: latent: original | v1: SIPI: hidden state"],
        "changed": [],
    }
    assert main(["compare", one, other]) == 1
    assert "v2" in capsys.readouterr().out


def test_how_much_either_has_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the shorter one lacks may be no difference."""
    one = run_file(tmp_path / "one.json", "original,v1", INIT=3)
    other = run_file(tmp_path / "other.json", "original,v1", SIPI=3)
    for path, ran in ((one, {"mix": True, "schedules": 1234, "seconds": 5.4}), (other, {})):
        told = json.loads(Path(path).read_text())
        Path(path).write_text(json.dumps({**told, **ran}))
    assert main(["compare", one, other]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{one}: 1,234 schedules in 5 s, with --mix"
    assert not any(line.startswith(other) for line in said)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"signatures": [1]}', '{"signatures": [{}]}'])
def test_what_is_no_run_is_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, fine = tmp_path / "some.json", run_file(tmp_path / "one.json", "original,v1")
    path.write_text(text)
    for pair in ([str(path), fine], [fine, str(path)], [fine, str(tmp_path / "none")]):
        assert main(["compare", *pair]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert pair[0] in error or pair[1] in error
