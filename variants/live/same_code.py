"""Are two builds of KVM the same code?"""

import re
import subprocess
from pathlib import Path
from typing import Final

SECTION: Final = re.compile(
    r"^(?:Contents of section |RELOCATION RECORDS FOR \[|Disassembly of section )(\S+?)\]?:$",
    re.MULTILINE,
)
TOLD_ONLY: Final = re.compile(
    r"__bug_table|__dyndbg|__ksymtab_strings|\.rodata\.str.*|\.modinfo|\.comment|\.note.*"
    r"|\.debug.*|\.BTF.*"
)
"""Sections with line numbers, names, texts and hashes."""


def same_code(one: Path, other: Path) -> bool:
    """Do the modules in two folders do the same? They do if code, data and what these refer to are
    the same, as after a change of comments or of names. Raises OSError."""
    names = sorted(path.name for path in one.glob("*.ko"))
    if not names or names != sorted(path.name for path in other.glob("*.ko")):
        return False
    return all(sections(one, name) == sections(other, name) for name in names)


def sections(folder: Path, module: str) -> list[tuple[str, str]]:
    """What a module does and has, section by section, as objdump tells it."""
    found: list[tuple[str, str]] = []
    for what in (["-d", "-r"], ["-s", "-r"]):
        command = ["objdump", *what, module]
        told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        _, *parts = SECTION.split(told.stdout)
        found += zip(parts[::2], parts[1::2], strict=True)
    return [(name, text) for name, text in found if not TOLD_ONLY.fullmatch(name)]
