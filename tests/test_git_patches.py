"""What git makes of real changes (renames, copies, series), and diffs that mean harm."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from variants.live.changes import changed_functions
from variants.live.emulator import LiveError
from variants.live.patches import KVM, apply_patch, read_patch

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")

FILES = {
    f"{KVM}/lapic.c": """static int limit = 3;

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
""",
    f"{KVM}/irq.c": "".join(f"int irq_{number}(void)\n{{\n}}\n" for number in range(9)),
    f"{KVM}/svm/svm.h": "int svm;\n",
}
OTHERS = {
    "lib/x.c": "".join(f"int other_{number};\n" for number in range(9)),
    f"{KVM}/README": "a\nb\nc\n",
}
"""In the repository that patches are made in, not in the tree they are for."""


def fill(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return fill(tmp_path / "scratch" / "tree", FILES)


def contents(tree: Path) -> dict[str, str]:
    files = [file for file in sorted(tree.rglob("*")) if file.is_file()]
    return {
        str(file.relative_to(tree)): file.read_text() for file in files if ".git" not in file.parts
    }


def series(folder: Path, commits: list[str], *options: str) -> str:
    """What `git format-patch` prints; each commit is a shell command run in KVM's folder."""
    fill(folder, FILES | OTHERS)
    identity = {
        f"GIT_{who}_{what}": "me" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    script = ["git init --quiet"]
    for command in ("true", *commits):
        script += [f"(cd {KVM} && {command})", "git add --all"]
        script.append("git commit --quiet -m 'rename from a to b'")
    script.append(f"git format-patch --stdout {' '.join(options)} HEAD~{len(commits)}")
    return subprocess.run(
        ["sh", "-ec", "\n".join(script)],
        cwd=folder,
        env={**os.environ, **identity, **plain},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def applied(tmp_path: Path, tree: Path, text: str) -> tuple[list[str], list[str]]:
    file = tmp_path / "mine.patch"
    file.write_text(text)
    return apply_patch(read_patch(file), tree, tmp_path / "log")


EDIT = "sed -i 's/b > limit/b >= limit/' lapic.c"
EDIT_APIC = "sed -i 's/b > limit/b >= limit/' apic.c"
LAPIC, APIC = f"{KVM}/lapic.c", f"{KVM}/apic.c"
CASES = {
    "rename": (["mv lapic.c apic.c"], [APIC, LAPIC]),
    "rename and edit": ([f"mv lapic.c apic.c && {EDIT_APIC}"], [APIC, LAPIC, "second"]),
    "copy": ([f"cp lapic.c apic.c && {EDIT}"], [APIC, "first", "second"]),
    "edit and new file": ([f"{EDIT} && echo 'int a;' >new.h"], ["second", f"{KVM}/new.h"]),
    "edit and deleted file": ([f"{EDIT} && rm svm/svm.h"], ["second", f"{KVM}/svm/svm.h"]),
    "deleted file and edit": ([f"{EDIT} && rm irq.c"], ["irq", "second"]),
    "rename and another edit": ([f"{EDIT} && mv irq.c a.c"], ["second"]),
    "new folder": (["mkdir n && mv irq.c n/irq.c"], []),
    "swap": (["mv lapic.c a && mv irq.c lapic.c && mv a irq.c"], [LAPIC, f"{KVM}/irq.c"]),
    "edit, then rename": ([EDIT, "mv lapic.c apic.c"], [APIC, LAPIC, "second"]),
    "rename, then edit": (["mv lapic.c apic.c", EDIT_APIC], [APIC, LAPIC, "second"]),
    "two renames": (["mv lapic.c a.c", "mv a.c apic.c", EDIT_APIC], [APIC, LAPIC, "second"]),
    "there and back": (["mv lapic.c apic.c", EDIT_APIC, "mv apic.c lapic.c"], ["second"]),
    "new and deleted": (["echo >new.h", "rm new.h", EDIT], ["second"]),
    "mode": ([f"chmod +x irq.c && {EDIT}"], ["second"]),
}


@pytest.mark.parametrize("options", [("-M", "-C"), ("-M", "-C", "--no-prefix"), ("--no-renames",)])
@pytest.mark.parametrize("case", CASES)
def test_what_git_makes_is_what_is_built(
    case: str, options: tuple[str, ...], tree: Path, tmp_path: Path
) -> None:
    commits, changed = CASES[case]
    repository = tmp_path / "repository"
    text = series(repository, commits, *options)
    before = shutil.copytree(tree, tmp_path / "before")
    files, left_out = applied(tmp_path, tree, text)
    assert left_out == []
    assert contents(tree) == {
        name: text for name, text in contents(repository).items() if name not in OTHERS
    }
    found = changed_functions(before, tree, files)
    assert set(found) == {name for name in found if name.startswith("irq_")} | {
        name for name in changed if name != "irq"
    }


def test_a_patch_relative_to_kvm_may_rename(tree: Path, tmp_path: Path) -> None:
    commits = [f"mv lapic.c apic.c && {EDIT_APIC} && echo >>../../../lib/x.c"]
    text = series(tmp_path / "repository", commits, "-M", f"--relative={KVM}")
    files, left_out = applied(tmp_path, tree, text)
    assert (files, left_out) == ([APIC, LAPIC], [])
    assert "b >= limit" in (tree / APIC).read_text()
    assert not (tree / LAPIC).exists()


def test_moves_to_and_from_elsewhere_are_left_out(tree: Path, tmp_path: Path) -> None:
    commits = [EDIT, "mv ../../../lib/x.c . && echo d >>README", "mv irq.c ../../../lib"]
    text = series(tmp_path / "repository", commits, "-M")
    files, left_out = applied(tmp_path, tree, text)
    assert files == [LAPIC]
    assert left_out == [f"{KVM}/README", f"{KVM}/x.c", "lib/irq.c"]


VALID = f"""diff --git a/{LAPIC} b/{LAPIC}
--- a/{LAPIC}
+++ b/{LAPIC}
@@ -1,3 +1,3 @@
-static int limit = 3;
+static int limit = 4;

 int first(int a)
"""


def moved(old: str, new: str, how: str = "rename") -> str:
    return f"""diff --git a/{KVM}/a b/{KVM}/b
similarity index 100%
{how} from {old}
{how} to {new}
"""


def created(name: str, mode: str = "100644", text: str = "gotcha") -> str:
    return f"""diff --git a/{name} b/{name}
new file mode {mode}
--- /dev/null
+++ b/{name}
@@ -0,0 +1 @@
+{text}
"""


HARM = {
    "the attack": moved("..", "../.bashrc"),
    "rename out": moved(LAPIC, "../.bashrc"),
    "rename far out": moved(f"{KVM}/irq.c", f"{KVM}/../../../../../.bashrc"),
    "copy in": moved("../../.bashrc", f"{KVM}/stolen.h", "copy"),
    "rename in": moved("../../.bashrc", f"{KVM}/stolen.h"),
    "new file": created(f"{KVM}/../../../../../.bashrc"),
    "new file, named otherwise": created(f"{KVM}/x.h").replace("+++ b/", "+++ b/../../"),
    "absolute": moved(f"{KVM}/irq.c", "{home}/.bashrc"),
    "absolute source": moved("{home}/.bashrc", f"{KVM}/stolen.h", "copy"),
    "link": created(f"{KVM}/link.h", "120000", "{home}/.bashrc"),
    "through a link": created(f"{KVM}/link", "120000", "{home}") + created(f"{KVM}/link/.bashrc"),
    "link for a file": f"diff --git a/{KVM}/irq.c b/{KVM}/irq.c\n"
    "old mode 100644\nnew mode 120000\n",
    "submodule": created(f"{KVM}/module", "160000"),
    "repository": created(f"{KVM}/.git/config"),
    "two lines": moved('"../.bash\\nrc"', f"{KVM}/a"),
    "no prefix": "--- ../../.bashrc\n+++ ../../.bashrc\n@@ -1 +1 @@\n-mine\n+gotcha\n",
}


@pytest.mark.parametrize("name", HARM)
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_outside_the_tree_is_touched(
    name: str, inside: bool, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the current folder is, and also if the cache is in a repository of the user's."""
    if inside:
        subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    for folder in (tmp_path, tree.parent, tree.parent.parent):
        (folder / ".bashrc").write_text("mine\n")
    current = fill(tmp_path / "current" / "folder", {".bashrc": "mine\n"})
    (current.parent / ".bashrc").write_text("mine\n")
    monkeypatch.chdir(current)
    assert applied(tmp_path, shutil.copytree(tree, tmp_path / "copy"), VALID) == ([LAPIC], [])
    text = VALID + HARM[name].replace("{home}", str(tmp_path))
    with pytest.raises(LiveError) as error:
        applied(tmp_path, tree, text)
    assert "\n" not in str(error.value)
    assert "mine.patch" in str(error.value)
    homes = [file for file in tmp_path.rglob(".bashrc") if tree not in file.parents]
    assert len(homes) == 4
    assert {home.read_text() for home in homes} == {"mine\n"}
    assert not any(file.is_symlink() for file in tree.rglob("*"))
    assert "mine" not in "".join(contents(tree).values())


def test_the_users_settings_and_repositories_do_not_matter(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("[apply]\n\twhitespace = error\n[core]\n\tautocrlf = true\n")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert applied(tmp_path, tree, VALID.replace("limit = 4;", "limit = 4; ")) == ([LAPIC], [])
    assert (tree / LAPIC).read_bytes().startswith(b"static int limit = 4; \n")


def test_a_broken_diff_is_one_line(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(LiveError) as error:
        applied(tmp_path, tree, VALID.replace("-1,3 +1,3", "-1,9 +1,9"))
    assert str(error.value).endswith("mine.patch: corrupt patch at line 9")


def test_an_edit_and_a_rename_without_their_commits(tree: Path, tmp_path: Path) -> None:
    """In one diff both start from the same file: the edit would be lost."""
    with pytest.raises(LiveError, match="and renames it in one diff"):
        applied(tmp_path, tree, VALID + moved(LAPIC, APIC))
