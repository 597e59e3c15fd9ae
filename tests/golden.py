"""Golden causes: what each seed, and one reproducer a signature, shows; see tests/test_causes.py.

`corpus/golden.yaml` says it, and `corpus/golden/` holds the reproducers. Where causes are meant to
change, take both from a new exploration and read the difference:

    eventdiff explore
    python -m tests.golden reports/explored
"""

import shutil
import sys
from pathlib import Path

import yaml

from fuzz.report.replay import automaton_of
from fuzz.schedule.file import read_schedule, write_whole
from fuzz.schedule.schedule import Schedule
from variants.catalogue import choose

CORPUS = Path(__file__).parent.parent / "corpus"
GOLDEN = CORPUS / "golden.yaml"
FOLDERS = ("seeds", "golden")


def shown(schedule: Schedule) -> list[str]:
    """The signatures of a schedule, each with its step."""
    found = automaton_of(schedule.vendor, choose("", [])).compare(schedule)
    return [f"step {step}: {divergence.signature}" for step, divergence in found]


def golden() -> dict[str, list[str]]:
    """What the committed file says, by path within the corpus."""
    told: dict[str, list[str]] = yaml.safe_load(GOLDEN.read_text())
    return told


def schedule_of(name: str) -> Schedule:
    """The schedule of a path within the corpus."""
    return read_schedule(str(CORPUS / name))


def take(reports: Path) -> None:
    """Take the reproducers under `reports`, and say what they and the seeds show."""
    shutil.rmtree(CORPUS / "golden", ignore_errors=True)
    (CORPUS / "golden").mkdir()
    for file in sorted(reports.glob("*/reproducer.yaml")):
        shutil.copy(file, CORPUS / "golden" / f"{file.parent.name}.yaml")
    names = [
        str(path.relative_to(CORPUS))
        for folder in FOLDERS
        for path in sorted((CORPUS / folder).glob("*.yaml"))
    ]
    told = {name: shown(schedule_of(name)) for name in names}
    write_whole(GOLDEN, yaml.safe_dump(told, sort_keys=False, width=1000))


if __name__ == "__main__":
    take(Path(sys.argv[1]))
