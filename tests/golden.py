"""Golden causes: what each seed, and one reproducer a signature, shows; see tests/test_causes.py.

`corpus/golden.yaml` says it, `corpus/golden/` holds the reproducers, and `corpus/known.yaml` has
the signatures by cause, with who is right. Where causes are meant to change, take all of it from a
new exploration and read the difference:

    eventdiff explore
    python -m tests.golden reports/explored
"""

import shutil
import sys
from pathlib import Path

import yaml

from fuzz.compare.signature import Form, Signature
from fuzz.findings.finding import grouped
from fuzz.findings.known import Known, known_yaml
from fuzz.report.folder import slug
from fuzz.report.replay import automaton_of
from fuzz.report.ruled import ruled
from fuzz.schedule.file import read_schedule, write_whole
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.seeds import golden_files
from variants.catalogue import choose
from variants.machine.step import VENDORS

CORPUS = Path(__file__).parent.parent / "corpus"
GOLDEN = CORPUS / "golden.yaml"
KNOWN = CORPUS / "known.yaml"
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


def found() -> dict[str, Known]:
    """What the reproducers of `corpus/golden/` show: each signature's cause, who is right, and the
    reproducer."""
    variants = choose("", [])
    automata = {vendor: automaton_of(vendor, variants) for vendor in VENDORS}
    forms: dict[Signature, Form] = {}
    files: dict[Signature, str] = {}
    for path in golden_files():
        schedule = read_schedule(str(path))
        for step, one in automata[schedule.vendor].compare(schedule):
            if step == len(schedule.steps) - 1 and slug(one.signature) == path.stem:
                forms[one.signature] = Form(one, schedule)
                files[one.signature] = f"corpus/golden/{path.name}"
    return {
        str(form.signature): Known(one.finding.title, one.ruling, files[form.signature])
        for one in ruled(automata, variants[0].name, grouped(variants, forms.values()))
        for form in one.finding.forms
    }


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
    write_whole(KNOWN, known_yaml(found()))


if __name__ == "__main__":
    take(Path(sys.argv[1]))
