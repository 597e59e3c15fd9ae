"""The schedules of the corpus. The package carries them: fuzz/corpus is a link to corpus."""

from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent.parent / "corpus"
SEEDS: Final = CORPUS / "seeds"
KNOWN: Final = CORPUS / "known.yaml"
GOLDEN: Final = CORPUS / "golden"
"""A shortest reproducer of each signature of corpus/exhaustive.json."""


def seed_files() -> list[Path]:
    """The files of the seed schedules, by name. Raises OSError where there is no such folder."""
    return yaml_in(SEEDS)


def golden_files() -> list[Path]:
    """Those of the reproducers in `GOLDEN`, likewise."""
    return yaml_in(GOLDEN)


def yaml_in(folder: Path) -> list[Path]:
    """The schedules of a folder, by name."""
    return sorted(file for file in folder.iterdir() if file.suffix == ".yaml")
