"""A user's change of KVM as a unified diff: applied with patch(1), whatever root it was made at."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from variants.live.emulator import LiveError

KVM: Final = "arch/x86/kvm"
ROOTS: Final = (f"{KVM}/", "virt/kvm/", "arch/x86/include/", "include/")
"""What of a kernel tree is built here; a patch's other files are left out."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
SECTION: Final = re.compile(r"^--- (\S+).*\n\+\+\+ (\S+).*\n(?=@@ )", re.MULTILINE)
FAILED: Final = re.compile(r"^Hunk #(\d+) FAILED at (\d+)", re.MULTILINE)
NOTHING: Final = "/dev/null"


@dataclass(frozen=True)
class Section:
    """The part of a diff for one file. path: of the file, as the diff names it."""

    path: str
    created: bool
    text: str


@dataclass(frozen=True)
class KernelPatch:
    """A live variant by patch: its name (the file's) and the diff."""

    name: str
    file: Path
    text: str


def read_patch(file: Path) -> KernelPatch:
    """The patch in `file`; LiveError if it is no unified diff or its name does not do."""
    try:
        text = file.read_text(errors="surrogateescape")
    except OSError as error:
        raise LiveError(f"{file}: {error.strerror}") from None
    name = file.name.rsplit(".", 1)[0] if file.suffix in (".patch", ".diff") else file.name
    if not NAME.fullmatch(name):
        raise LiveError(f"{file}: a variant cannot be named {name!r}: rename the file")
    if not sections(text):
        raise LiveError(f"{file}: no unified diff in it")
    return KernelPatch(name, file.resolve(), text)


def sections(text: str) -> list[Section]:
    """A diff cut up at its files."""
    starts = list(SECTION.finditer(text))
    ends = [match.start() for match in starts] + [len(text)]
    found = []
    for match, end in zip(starts, ends[1:], strict=True):
        created = match[1] == NOTHING
        path = match[2] if match[2] != NOTHING else match[1]
        found.append(Section(path, created, text[match.start() : end]))
    return found


def place(section: Section, tree: Path) -> str | None:
    """The file of `tree` that the section is for; None if that is not there or not built here."""
    parts = PurePosixPath(section.path).parts
    if ".." in parts:
        return None
    prefixed = parts[0] in ("a", "b")
    from_root = ["/".join(parts[drop:]) for drop in range(2 if prefixed else len(parts))]
    from_kvm = ["/".join((KVM, *parts[drop:])) for drop in range(min(2, len(parts)))]
    for candidate in [path for path in from_root if path.startswith(ROOTS)] + from_kvm:
        file = tree / candidate
        if file.is_file() or (section.created and file.parent.is_dir()):
            return candidate
    return None


def apply_patch(patch: KernelPatch, tree: Path, log: Path) -> tuple[list[str], list[str]]:
    """Change `tree`; returns the files changed and those of the diff that are left out.

    LiveError says what does not apply; the rejected hunks are then in `log`.
    """
    changed: list[str] = []
    left_out: list[str] = []
    for section in sections(patch.text):
        path = place(section, tree)
        if path is None:
            left_out.append(section.path)
            continue
        changed.append(path)
        apply_section(patch, section, tree / path, path, log)
    if not changed:
        raise LiveError(f"{patch.file}: changes nothing of KVM, only {', '.join(left_out)}")
    return sorted(set(changed)), left_out


def apply_section(patch: KernelPatch, section: Section, file: Path, path: str, log: Path) -> None:
    command = ["patch", "--batch", "--forward", "--no-backup-if-mismatch", "--remove-empty-files"]
    log.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [*command, f"--reject-file={log}", str(file)],
            input=section.text.encode(errors="surrogateescape"),
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise LiveError("patch missing: apt-get install patch") from None
    if done.returncode == 0:
        return
    said = (done.stdout + done.stderr).decode(errors="replace")
    hunks = [f"hunk {number} at line {line}" for number, line in FAILED.findall(said)]
    if "previously applied" in said:
        hunks = ["it looks reversed or already applied"]
    what = ", ".join(hunks) or " | ".join(said.split("\n"))[-200:]
    rejects = f" (rejects: {log})" if log.exists() else ""
    raise LiveError(f"{patch.file} does not apply: {path}: {what}{rejects}")
