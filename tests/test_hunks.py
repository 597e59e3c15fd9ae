"""Patches taken apart at their hunks, and put together again from some of them."""

import difflib
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variants.live.git_apply import git_apply
from variants.live.hunks import Hunk, diff_of, hunks_on
from variants.live.patches import KVM, KernelPatch

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")

FILES = [f"{KVM}/lapic.c", f"{KVM}/svm/svm.c", "include/linux/kvm_host.h"]
Tree = dict[str, list[str]]
# Of few different lines, so that what surrounds a change is found in many places.
LINES = st.lists(
    st.sampled_from(["a", "b", "{", "}", "", "\tx();", "\f", "@@ -1 +1 @@"]), max_size=60
)


@st.composite
def edited(draw: st.DrawFn) -> tuple[Tree, Tree]:
    """Some files, and what a patch makes of them: lines changed, files added, deleted."""
    before = {file: draw(LINES) for file in FILES if draw(st.booleans())}
    after: Tree = {}
    for file, lines in before.items():
        if draw(st.integers(0, 9)) == 0:
            continue
        new = list(lines)
        for _ in range(draw(st.integers(0, 4))):
            start = draw(st.integers(0, len(new)))
            new[start : start + draw(st.integers(0, 3))] = draw(LINES)[:4]
        after[file] = new
    for file in set(FILES) - set(before):
        if draw(st.booleans()):
            after[file] = draw(LINES.filter(bool))
    return before, after


def write(folder: Path, tree: Tree) -> Path:
    folder.mkdir()
    for file, lines in tree.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("".join(f"{line}\n" for line in lines))
    return folder


def read(folder: Path) -> Tree:
    return {
        str(file.relative_to(folder)): file.read_text().split("\n")[:-1]
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def patch_of(*steps: tuple[Tree, Tree]) -> KernelPatch:
    return KernelPatch("mine", Path("mine.patch"), tuple(map(diff, steps)))


def diff(step: tuple[Tree, Tree]) -> str:
    before, after = step
    text = ""
    for file in FILES:
        old, new = before.get(file), after.get(file)
        if old == new:
            continue
        names = (
            "/dev/null" if old is None else f"a/{file}",
            "/dev/null" if new is None else f"b/{file}",
        )
        one, other = ([f"{line}\n" for line in lines or []] for lines in (old, new))
        made = "".join(difflib.unified_diff(one, other, *names))
        mode = "new file" if old is None else "deleted file"
        # A file without a line has no diff but this.
        text += f"diff --git a/{file} b/{file}\n"
        text += f"{mode} mode 100644\n" if old is None or new is None else ""
        text += made
    return text


def spliced(tree: Tree, hunks: list[Hunk]) -> Tree:
    """The tree with hunks applied by line numbers alone, from the last to the first."""
    found = {file: list(lines) for file, lines in tree.items()}
    for hunk in reversed(hunks):
        if hunk.where == "deleted":
            del found[hunk.file]
            continue
        if hunk.where == "new file":
            found[hunk.file] = []
        if moved := re.search(r"^rename from (.*)$", hunk.text, re.MULTILINE):
            found[hunk.file] = found.pop(moved[1])
        for one in reversed(re.split(r"^(?=@@ -)", hunk.text, flags=re.MULTILINE)):
            if not one.startswith("@@ -"):
                continue
            ranges, *body = one.split("\n")[:-1]
            start, count = re.findall(r"-(\d+)(?:,(\d+))?", ranges)[0]
            first = int(start) - (count != "0")
            new = [line[1:] for line in body if line[0] in " +"]
            found.setdefault(hunk.file, [])[first : first + int(count or 1)] = new
    return found


@settings(max_examples=60)
@given(edited(), st.data())
def test_any_of_the_hunks_are_a_patch_and_all_are_the_patch(
    change: tuple[Tree, Tree], data: st.DataObject
) -> None:
    before, after = change
    if before == after:
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "of")
        folder.mkdir()
        tree = write(folder / "a", before)
        hunks = hunks_on(patch_of(change), folder)
        assert read(folder / "b") == dict(sorted(after.items()))
        numbers = [hunk.number for hunk in hunks]
        assert numbers == list(range(1, len(hunks) + 1))
        subsets = [frozenset(numbers), data.draw(st.frozensets(st.sampled_from(numbers)))]
        for count, kept in enumerate(subsets):
            made = Path(scratch, f"made-{count}")
            shutil.copytree(tree, made)
            if kept:
                git_apply(made, diff_of(hunks, kept))
            assert read(made) == spliced(before, [one for one in hunks if one.number in kept])
        assert read(Path(scratch, "made-0")) == dict(sorted(after.items()))


def test_a_hunk_stays_where_it_was_when_others_before_it_are_left_out(tmp_path: Path) -> None:
    """In a file of which every part looks alike."""
    file, block = FILES[0], ["{", "\ta;", "\tb;", "\tc;", "\td;", "\te;", "\tf;", "}"]
    before = block * 9
    after = ["\tplus;"] * 2 * len(block) + before
    after[6 * 8 + 3] = "\tnew;"
    write(tmp_path / "a", {file: before})
    hunks = hunks_on(patch_of(({file: before}, {file: after})), tmp_path)
    assert len(hunks) == 2
    git_apply(tmp_path / "a", diff_of(hunks, {2}))
    (changed,) = read(tmp_path / "a").values()
    assert changed == spliced({file: before}, hunks[1:])[file]
    assert changed.count("\tnew;") == 1


SOURCE = """\
#include "x.h"

struct kvm_thing {
\tint a;
\tint b;
\tint c;
\tint d;
};

static int limit = 3;



int first(int a,
\t  int b)
{
\tif (a)
\t\tgoto out;
\tb++;
\tb++;
out:
\treturn a;
}

/* about second */
int second(int b)
{
\treturn b;
}
""".splitlines()


def labels(tmp_path: Path, *changes: tuple[str, str]) -> list[str]:
    """What the hunks are called if those lines of the source are replaced."""
    text = "\n".join(SOURCE)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    file = FILES[0]
    write(tmp_path / "a", {file: SOURCE})
    patch = patch_of(({file: SOURCE}, {file: text.split("\n")}))
    return [str(one).removeprefix(f"{file}: ") for one in hunks_on(patch, tmp_path)]


@pytest.mark.parametrize(
    ("old", "new", "label"),
    [
        ("\tint c;", "\tint e;", "struct kvm_thing, line 6"),
        ("limit = 3", "limit = 4", "line 10"),
        ("\tb++;\nout", "\tb--;\nout", "first, line 20"),
        ("\treturn b;", "\treturn b + 1;", "second, line 28"),
        ("/* about", "int third(void)\n{\n}\n\n/* about", "third, line 25"),
        ("int second(int b)", "int second(long b)", "second, line 26"),
        ("int second(int b)\n{\n\treturn b;\n}", "", "second, line 26"),
    ],
)
def test_what_a_hunk_is_called(old: str, new: str, label: str, tmp_path: Path) -> None:
    assert labels(tmp_path, (old, new)) == [label]


def test_hunks_far_apart_are_counted_as_the_patched_file_has_them(tmp_path: Path) -> None:
    changes = [("\tint a;", "\tint a;\n\tint z;"), ("\treturn b;", "\treturn -b;")]
    assert labels(tmp_path, *changes) == ["struct kvm_thing, line 5", "second, line 29"]


def test_a_series_is_one_patch(tmp_path: Path) -> None:
    """What the second takes back of the first is no hunk, what it goes on with is the same one."""
    file = FILES[0]
    one = SOURCE[:]
    one[4], one[-2] = "\tlong b;", "\treturn 1;"
    two = one[:]
    two[4], two[-2] = SOURCE[4], "\treturn 2;"
    write(tmp_path / "a", {file: SOURCE})
    patch = patch_of(({file: SOURCE}, {file: one}), ({file: one}, {file: two}))
    (hunk,) = hunks_on(patch, tmp_path)
    assert str(hunk) == f"{file}: second, line 28"
    assert "+\treturn 2;" in hunk.text


def test_a_file_as_a_whole_is_one_hunk(tmp_path: Path) -> None:
    """Renamed and changed in two places, made executable, and its neighbour changed."""
    old, new, other = FILES[0], f"{KVM}/apic.c", FILES[1]
    write(tmp_path / "a", {old: SOURCE, other: SOURCE})
    text = f"""diff --git a/{old} b/{new}
similarity index 90%
rename from {old}
rename to {new}
--- a/{old}
+++ b/{new}
@@ -3,3 +3,3 @@
 struct kvm_thing {{
-\tint a;
+\tint aa;
 \tint b;
@@ -27,3 +27,3 @@
 {{
-\treturn b;
+\treturn bb;
 }}
diff --git a/{other} b/{other}
--- a/{other}
+++ b/{other}
@@ -27,3 +27,3 @@
 {{
-\treturn b;
+\treturn bb;
 }}
"""
    patch = KernelPatch("mine", Path("mine.patch"), (text,))
    hunks = hunks_on(patch, tmp_path)
    assert [str(one) for one in hunks] == [f"{new}: renamed", f"{other}: second, line 28"]
    shutil.copytree(tmp_path / "a", tmp_path / "made")
    git_apply(tmp_path / "made", diff_of(hunks, {1}))
    assert read(tmp_path / "made")[other] == SOURCE
    assert list(read(tmp_path / "made")) == [new, other]
    git_apply(tmp_path / "made", diff_of(hunks, {2}))
    assert read(tmp_path / "made") == read(tmp_path / "b")
