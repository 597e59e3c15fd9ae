"""What is installed does all that the checkout does, in any folder."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

from tests.installing import ROOT, call, run_in, sources
from variants.live import semantic
from variants.live.emulator import LiveError

SEED = "svm-sipi-in-l2-then-hlt.yaml"
SEED_FILES = "from fuzz.schedule.seeds import *; print(*seed_files(), sep='\\n')"


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def package_files() -> set[str]:
    """All that commands need, as the checkout has it."""
    code = (*ROOT.glob("fuzz/**/*.py"), *ROOT.glob("variants/**/*.py"))
    data = (
        *ROOT.glob("variants/py.typed"),
        *ROOT.glob("variants/*/kernel.cocci"),
        *ROOT.glob("variants/live/agent/*"),
        *ROOT.glob("variants/live/kernel/*"),
        *ROOT.glob("variants/live/reproducer/*"),
        *ROOT.glob("variants/live/*.config"),
        *ROOT.glob("fuzz/page/page.*"),
        *ROOT.glob("fuzz/live/*.yaml"),
    )
    corpus = (*ROOT.glob("corpus/seeds/*.yaml"), *ROOT.glob("corpus/golden/*.yaml"))
    return {str(file.relative_to(ROOT)) for file in (*code, *data)} | {
        str("fuzz" / file.relative_to(ROOT)) for file in corpus
    }


def test_a_wheel_holds_what_commands_need_and_no_more(dist: Path, tmp_path: Path) -> None:
    """Made of the sdist as of the checkout."""
    call(
        *(sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-index", "--no-deps"),
        *("--wheel-dir", tmp_path, sources(tmp_path)),
    )
    (of_sdist,), (of_checkout,) = dist.glob("*.whl"), tmp_path.glob("*.whl")
    inside = {name for name in names(of_sdist) if ".dist-info/" not in name}
    assert inside == package_files()
    assert names(of_checkout) == names(of_sdist)


@pytest.fixture
def seeds(installed: Path, tmp_path: Path) -> list[Path]:
    """The seeds that the installed package has."""
    run = run_in(tmp_path, installed / "python", "-c", SEED_FILES)
    assert run.returncode == 0, run.stderr
    return [Path(line) for line in run.stdout.splitlines()]


def test_it_is_the_wheel_that_runs(installed: Path, seeds: list[Path], tmp_path: Path) -> None:
    code = "import fuzz, variants; print(fuzz.__file__, variants.__file__)"
    run = run_in(tmp_path, installed / "python", "-c", code)
    found = [*map(Path, run.stdout.split()), *seeds]
    assert len(found) == 2 + len(list(ROOT.glob("corpus/seeds/*.yaml")))
    for file in found:
        assert file.is_relative_to(installed.parent)


def test_fuzz(installed: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path, installed / "eventdiff", "fuzz", "--time", "5", "--json")
    assert run.returncode == 1, run.stderr
    written = json.loads((tmp_path / "reports/latest/campaign.json").read_text())
    assert json.loads(run.stdout) == written
    assert {one["vendor"] for one in written["signatures"]} == {"svm", "vmx"}


def test_explore(installed: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path, installed / "eventdiff", "explore", "--no-races", "--depth", "4")
    assert run.returncode == 1, run.stderr
    assert (tmp_path / "reports/explored/certificate.json").exists()


def test_replay(installed: Path, seeds: list[Path], tmp_path: Path) -> None:
    (seed,) = (file for file in seeds if file.name == SEED)
    run = run_in(tmp_path, installed / "eventdiff", "replay", seed)
    assert run.returncode == 1, run.stderr
    assert "step 3: liveness: original + paolo | yadong" in run.stdout


def test_only_the_base_is_without_a_semantic_patch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = [name for name in semantic.variant_names() if not semantic.semantic_patch(name)]
    assert without == ["original"]
    monkeypatch.setattr(semantic, "VARIANTS", tmp_path)
    with pytest.raises(LiveError, match="paolo has no semantic patch"):
        semantic.source_key("paolo")
