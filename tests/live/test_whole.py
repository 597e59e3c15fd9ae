"""A tree of the user's, built whole and run. It takes minutes: name one in EVENTDIFF_TREE."""

import os
from pathlib import Path

import pytest

from fuzz.schedule.file import read_schedule
from fuzz.schedule.text import schedule_json
from tests.live.running import SEEDS
from variants.live.agent_build import build_agent
from variants.live.artefacts import locked
from variants.live.runner import Build, Report, run
from variants.live.whole import build_whole


def listing(tree: Path) -> dict[Path, tuple[int, int, int]]:
    found = {file: file.lstat() for file in tree.rglob("*")}
    return {file: (one.st_mode, one.st_size, one.st_mtime_ns) for file, one in found.items()}


@pytest.mark.skipif(
    os.environ.get("EVENTDIFF_LIVE") != "1" or "EVENTDIFF_TREE" not in os.environ,
    reason="EVENTDIFF_LIVE=1 and a Linux tree in EVENTDIFF_TREE",
)
def test_a_tree_is_built_outside_of_it_and_runs_the_seeds(tmp_path: Path) -> None:
    tree = Path(os.environ["EVENTDIFF_TREE"])
    before = listing(tree)
    with locked(tmp_path / "cache") as store:
        agent = build_agent(store) / "agent"
        kernel = build_whole(store, "mine", tree)
        built = (kernel / "headers/vmlinux").stat().st_mtime_ns
        assert build_whole(store, "mine", tree) == kernel
        assert (kernel / "headers/vmlinux").stat().st_mtime_ns == built
    assert listing(tree) == before

    build = Build(kernel / "vmlinuz", kernel / "irqbypass.ko", kernel / "stock", agent)
    seeds = [read_schedule(str(file)) for file in sorted(SEEDS.glob("*.yaml"))]
    for vendor in ("svm", "vmx"):
        mine = [schedule for schedule in seeds if schedule.vendor == vendor]
        report = Report([])
        traces = run([schedule_json(schedule) for schedule in mine], build, vendor, report)
        assert report.troubles == []
        assert [len(trace) for trace in traces] == [len(schedule.steps) for schedule in mine]
