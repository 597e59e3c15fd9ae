"""Live runs from an installed wheel, with the cache that the checkout filled."""

from pathlib import Path

from tests.installing import run_in
from tests.live.running import SEEDS


def test_setup_builds_the_same(cache: Path, installed: Path, tmp_path: Path) -> None:
    before = sorted((cache / "store").iterdir())
    run = run_in(tmp_path, installed / "eventdiff", "live", "setup", EVENTDIFF_CACHE=str(cache))
    assert run.returncode == 0, run.stderr
    assert "ready: original, " in run.stdout
    assert sorted((cache / "store").iterdir()) == before


def test_conform_takes_its_seeds_and_the_reports_of_the_folder(
    cache: Path, installed: Path, tmp_path: Path
) -> None:
    reproducer = tmp_path / "reports" / "latest" / "one" / "reproducer.yaml"
    reproducer.parent.mkdir(parents=True)
    seeds = list(SEEDS.glob("svm-*.yaml"))
    reproducer.write_text(seeds[0].read_text())
    command = ("live", "conform", "--samples", "0,0", "--vendor", "svm")
    run = run_in(tmp_path, installed / "eventdiff", *command, EVENTDIFF_CACHE=str(cache))
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"svm: {len(seeds) + 1} schedules, 0 of them sampled" in run.stderr
