"""Kernel patches, applied to a small tree of our own."""

import difflib
import shutil
from pathlib import Path

import pytest

from variants.live.changes import changed_functions
from variants.live.emulator import LiveError
from variants.live.patches import apply_patch, read_patch

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")

FILE = "arch/x86/kvm/lapic.c"
BEFORE = """static int limit = 3;

int first(int a)
{
\treturn a;
}

int second(int b)
{
\tif (b > limit)
\t\treturn 0;
\treturn b;
}
"""
AFTER = BEFORE.replace("b > limit", "b >= limit")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "linux"
    for folder in ("arch/x86/kvm/vmx", "virt/kvm", "include/linux"):
        (root / folder).mkdir(parents=True)
    (root / FILE).write_text(BEFORE)
    return root


def diff(old_name: str, new_name: str, before: str = BEFORE, after: str = AFTER) -> str:
    lines = difflib.unified_diff(
        before.splitlines(True), after.splitlines(True), old_name, new_name
    )
    return "".join(lines)


def written(tmp_path: Path, text: str, name: str = "mine.patch") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


ROOTS = [
    ("a/arch/x86/kvm/lapic.c", "b/arch/x86/kvm/lapic.c"),
    ("arch/x86/kvm/lapic.c.orig", "arch/x86/kvm/lapic.c"),
    ("a/lapic.c", "b/lapic.c"),
    ("lapic.c", "lapic.c"),
    ("/home/me/linux.orig/arch/x86/kvm/lapic.c", "/home/me/linux/arch/x86/kvm/lapic.c"),
]


@pytest.mark.parametrize(("old", "new"), ROOTS)
def test_any_root_will_do(old: str, new: str, tree: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(tree, before)
    mail = f"Subject: [PATCH] a change\n\n---\n x | 2 +-\n\n{diff(old, new)}-- \n2.40\n"
    patch = read_patch(written(tmp_path, mail))
    assert patch.name == "mine"
    assert apply_patch(patch, tree, tmp_path / "log") == ([FILE], [])
    assert (tree / FILE).read_text() == AFTER
    assert changed_functions(before, tree, [FILE]) == ["second"]


def test_files_of_elsewhere_are_left_out(tree: Path, tmp_path: Path) -> None:
    text = diff(f"a/{FILE}", f"b/{FILE}") + diff("a/tools/x.c", "b/tools/x.c")
    text += diff("a/tools/arch/x86/kvm/lapic.c", "b/tools/arch/x86/kvm/lapic.c")
    patch = read_patch(written(tmp_path, text))
    left_out = ["tools/x.c", "tools/arch/x86/kvm/lapic.c"]
    assert apply_patch(patch, tree, tmp_path / "log") == ([FILE], left_out)
    only = read_patch(written(tmp_path, diff("a/tools/x.c", "b/tools/x.c"), "other.diff"))
    with pytest.raises(LiveError, match="changes nothing of KVM"):
        apply_patch(only, tree, tmp_path / "log")


def test_a_new_file_and_a_series(tree: Path, tmp_path: Path) -> None:
    later = AFTER.replace("limit = 3", "limit = 4")
    text = diff(f"a/{FILE}", f"b/{FILE}") + diff(f"a/{FILE}", f"b/{FILE}", AFTER, later)
    text += diff("/dev/null", "b/arch/x86/kvm/vmx/new.h", "", "int new;\n")
    patch = read_patch(written(tmp_path, text))
    files, _ = apply_patch(patch, tree, tmp_path / "log")
    assert files == [FILE, "arch/x86/kvm/vmx/new.h"]
    assert (tree / FILE).read_text() == later
    assert (tree / files[1]).read_text() == "int new;\n"


def test_what_does_not_apply_is_one_line(tree: Path, tmp_path: Path) -> None:
    (tree / FILE).write_text(BEFORE.replace("b > limit", "b < limit"))
    log = tmp_path / "log"
    patch = read_patch(written(tmp_path, diff(f"a/{FILE}", f"b/{FILE}")))
    with pytest.raises(LiveError) as error:
        apply_patch(patch, tree, log)
    assert "\n" not in str(error.value)
    assert f"does not apply: {FILE}: hunk 1 at line" in str(error.value)
    assert "b >= limit" in log.read_text()
    (tree / FILE).write_text(AFTER)
    with pytest.raises(LiveError, match="already applied"):
        apply_patch(patch, tree, log)


@pytest.mark.parametrize("name", ["..patch", "a,b.patch", "-x.patch", "a b.diff"])
def test_a_name_that_will_not_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(LiveError, match="rename the file"):
        read_patch(written(tmp_path, diff("a/x.c", "b/x.c"), name))


def test_what_is_no_diff(tmp_path: Path) -> None:
    with pytest.raises(LiveError, match="no unified diff"):
        read_patch(written(tmp_path, "hello\n"))
    with pytest.raises(LiveError, match="No such file"):
        read_patch(tmp_path / "none.patch")
