"""Two builds of a module: the same code, or not."""

import shutil
import subprocess
from pathlib import Path

import pytest

from variants.live.same_code import same_code

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler")
TEXT = """\
static int limit = 3;
static int (*const handlers[])(int);
static int twice(int a) { return 2 * a; }
static int thrice(int a) { return 3 * a; }
static int (*const handlers[])(int) = { twice, thrice };
int handled(int a) { return handlers[a & 1](a) + limit++; }
"""


def built(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "module.c").write_text(text)
    subprocess.run(["gcc", "-O1", "-c", "-o", "kvm.ko", "module.c"], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("static int limit", "/* how many */\nstatic int limit", True),
        ("twice(int a) { return 2 * a; }", "twice(int b) { return 2 * b; }", True),
        ("3 * a", "4 * a", False),
        ("limit = 3", "limit = 4", False),
        ("{ twice, thrice }", "{ thrice, twice }", False),
    ],
)
def test_code_and_data_tell_builds_apart(tmp_path: Path, old: str, new: str, same: bool) -> None:
    assert old in TEXT
    one, other = built(tmp_path / "a", TEXT), built(tmp_path / "b", TEXT.replace(old, new))
    assert same_code(one, other) == same


def test_modules_that_are_missing_or_packed_are_not_compared(tmp_path: Path) -> None:
    one = built(tmp_path / "a", TEXT)
    (tmp_path / "b").mkdir()
    assert not same_code(one, tmp_path / "b")
    assert not same_code(tmp_path / "b", tmp_path / "b")
