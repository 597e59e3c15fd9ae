"""A user's change of KVM as a unified diff: applied with git, whatever root it was made at."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from variants.live.artefacts import key_of
from variants.live.emulator import LiveError
from variants.live.git_apply import Change, Refused, changes, git_apply
from variants.live.mail import commits

KVM: Final = "arch/x86/kvm"
ROOTS: Final = (f"{KVM}/", "virt/kvm/", "arch/x86/include/", "include/")
"""What of a kernel tree is built here; a patch's other files are left out."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
PREFIXED: Final = re.compile(r"^(?:diff --git |--- a/|\+\+\+ b/)", re.MULTILINE)
SUFFIXES: Final = (".patch", ".diff", ".mbox", ".mbx")
GLOB: Final = re.compile(r"[*?[\\]")
DEEPEST: Final = 20
FUZZ: Final = "-C1"
FAILED: Final = re.compile(r"^error: patch failed: (.*):(\d+)$", re.MULTILINE)
REJECTED: Final = re.compile(r"^Rejected hunk #(\d+)\.$", re.MULTILINE)
ERROR: Final = re.compile(r"^(?:error|fatal): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class KernelPatch:
    """A live variant by patch: its name (the file's), and the diffs, one after another."""

    name: str
    file: Path
    diffs: tuple[str, ...]


class Root(NamedTuple):
    """Where a diff was made: folders to strip from its names, and the folder they are below."""

    strip: int
    below: str

    def options(self) -> list[str]:
        return [f"-p{self.strip}", *([f"--directory={self.below}"] if self.below else [])]


def read_patch(file: Path) -> KernelPatch:
    """The patch in `file`; LiveError if it is no unified diff or its name does not do."""
    try:
        text = file.read_text(errors="surrogateescape")
    except OSError as error:
        raise LiveError(f"{file}: {error.strerror}") from None
    name = file.stem if file.suffix in SUFFIXES else file.name
    if not NAME.fullmatch(name):
        raise LiveError(f"{file}: a variant cannot be named {name!r}: rename the file")
    diffs = tuple(commits(text))
    if not diffs:
        raise LiveError(f"{file}: no unified diff in it")
    return KernelPatch(name, file.resolve(), diffs)


def parts(patch: KernelPatch) -> list[KernelPatch]:
    """The states that a series passes through, a variant each: `mine@2` has its first two."""
    numbers = range(1, len(patch.diffs) + 1)
    return [replace(patch, name=f"{patch.name}@{n}", diffs=patch.diffs[:n]) for n in numbers]


def apply_patch(patch: KernelPatch, tree: Path, log: Path) -> tuple[list[str], list[str]]:
    """Change `tree`; returns the files it is about and those of the diff that are left out.

    LiveError says what does not apply; what git said and the rejected hunks are then in `log`.
    """
    about: set[str] = set()
    left_out: list[str] = []
    for number, diff in enumerate(patch.diffs, 1):
        of = f", patch {number} of {len(patch.diffs)}" if len(patch.diffs) > 1 else ""
        taken, left = apply_commit(f"{patch.file}{of}", diff, tree, log)
        about.update(name for change in taken for name in (change.old, change.new))
        left_out += left
    if not about:
        raise LiveError(f"{patch.file}: changes nothing of KVM, only {', '.join(left_out)}")
    return sorted(about), left_out


def apply_commit(where: str, diff: str, tree: Path, log: Path) -> tuple[list[Change], list[str]]:
    """`apply_patch` for one commit of a series; `where` is what errors call it."""
    try:
        root, found = root_of(diff, tree)
    except Refused as refused:
        raise LiveError(f"{where}: {first_error(refused)}") from None
    taken = in_tree(found, root, tree)
    edited = {change.new for change in found if change.old == change.new}
    for change in found:
        if outside := [name for name in (change.old, change.new) if leaves(name)]:
            raise LiveError(f"{where}: names a file outside the tree: {outside[0]}")
        if change.odd and change in taken:
            raise LiveError(f"{where}: makes {change.new} a link or a submodule")
        if change.moved and change.old in edited:
            raise LiveError(
                f"{where}: edits {change.old} and renames it in one diff: "
                "make it a series with `git format-patch`"
            )
    if taken:
        apply_changes(where, diff, root, taken, tree, log)
    above = f"{root.below}/" if root.below else ""
    return taken, [change.new.removeprefix(above) for change in found if change not in taken]


def root_of(diff: str, tree: Path) -> tuple[Root, list[Change]]:
    """The root with which most of a diff's files are in `tree`, and the diff's changes with it.

    Raises Refused if git can read it with none.
    """
    strips: Sequence[int] = (1, 0) if PREFIXED.search(diff) else range(DEEPEST)
    read = []
    refusals = []
    for root in [Root(strip, below) for below in ("", KVM) for strip in strips]:
        try:
            read.append((root, changes(tree, diff, *root.options())))
        except Refused as refused:
            refusals.append(refused)
    if not read:
        raise refusals[0]
    return max(read, key=lambda one: len(in_tree(one[1], one[0], tree)))


def in_tree(found: Sequence[Change], root: Root, tree: Path) -> list[Change]:
    """Those of a diff's changes that are for files of `tree`, or for new ones that belong there."""
    taken: list[Change] = []
    for change in found:
        belongs = change.new.startswith(ROOTS) and not leaves(change.new)
        if change.created:
            there = not root.below or (tree / change.new).parent.is_dir()
        else:
            made = any(change.old == before.new for before in taken)
            there = made or (tree / change.old).is_file()
        if belongs and there:
            taken.append(change)
    return taken


def leaves(name: str) -> bool:
    """Does a file's name lead out of the tree that it is relative to?"""
    return name.startswith("/") or ".." in PurePosixPath(name).parts


def apply_changes(
    where: str, diff: str, root: Root, taken: Sequence[Change], tree: Path, log: Path
) -> None:
    """Apply those changes of `diff`, all or none; LiveError says what does not apply."""
    names = sorted({name for change in taken for name in (change.old, change.new)})
    wanted = ["--include=" + GLOB.sub(r"\\\g<0>", name) for name in names]
    options = [*root.options(), FUZZ, *wanted]
    log.unlink(missing_ok=True)
    try:
        git_apply(tree, diff, *options)
    except Refused as refused:
        why = reason(diff, options, tree, log, str(refused))
        raise LiveError(f"{where} does not apply: {why} (rejects: {log})") from None


def reason(diff: str, options: Sequence[str], tree: Path, log: Path, said: str) -> str:
    """Why git does not apply `diff`; spoils `tree`, to have the rejected hunks in `log`."""
    try:
        git_apply(tree, diff, *options, "--check", "--reverse")
    except Refused:
        applied = False
    else:
        applied = True
    try:
        git_apply(tree, diff, *options, "--reject", "--verbose")
    except Refused as refused:
        said = str(refused)
    rejects = sorted(tree.rglob("*.rej"))
    log.write_text(said + "".join(file.read_text(errors="replace") for file in rejects))
    failed = FAILED.findall(said)
    if not failed:
        return first_error(said)
    first = failed[0][0]
    if applied:
        return f"{first}: it looks reversed or already applied"
    hunks = [
        f"hunk {number} at line {line}"
        for (file, line), number in zip(failed, REJECTED.findall(said), strict=False)
        if file == first
    ]
    return f"{first}: {', '.join(hunks) or f'line {failed[0][1]}'}"


def first_error(said: object) -> str:
    """The first thing that git complains of."""
    return next(iter(ERROR.findall(str(said))), " ".join(str(said).split()))


def patch_key(patch: KernelPatch) -> str:
    """What a patch is known by: its diffs."""
    return key_of(*(diff.encode(errors="surrogateescape") for diff in patch.diffs))


def patch_json(patch: KernelPatch) -> str:
    """The patch, to be built again when its file is gone."""
    return json.dumps({"name": patch.name, "file": str(patch.file), "diffs": patch.diffs}) + "\n"


def read_json(text: str) -> KernelPatch:
    """The inverse of `patch_json`."""
    kept = json.loads(text)
    return KernelPatch(kept["name"], Path(kept["file"]), tuple(kept["diffs"]))
