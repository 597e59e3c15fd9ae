"""Writes seed_corpus.zip files for the fuzz targets, the scenarios and the known divergences of the
corpus as inputs: `python seed_corpus.py OUT`."""

import sys
from pathlib import Path
from zipfile import ZipFile

from fuzz.schedule.codes import fuzz_input
from fuzz.schedule.file import read_schedule
from fuzz.schedule.seeds import golden_files, seed_files
from variants.machine.step import VENDORS


def main(out: Path) -> None:
    schedules = {path.stem: read_schedule(str(path)) for path in (*seed_files(), *golden_files())}
    for vendor in VENDORS:
        with ZipFile(out / f"fuzz_events_{vendor}_seed_corpus.zip", "w") as archive:
            for name, schedule in schedules.items():
                if schedule.vendor == vendor:
                    archive.writestr(name, fuzz_input(schedule))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
