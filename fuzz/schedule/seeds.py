"""The seed schedules. The package carries them: fuzz/corpus is a link to corpus."""

from pathlib import Path
from typing import Final

SEEDS: Final = Path(__file__).parent.parent / "corpus" / "seeds"


def seed_files() -> list[Path]:
    """The files of the seed schedules, by name. Raises OSError where there is no such folder."""
    return sorted(file for file in SEEDS.iterdir() if file.suffix == ".yaml")
