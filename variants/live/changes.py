"""Which functions a change of C source is in."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

TOP_LEVEL: Final = re.compile(r"^[A-Za-z_][^=;]*?\b(\w+)\(")


def functions(text: str) -> dict[str, str]:
    """A C file cut up at its functions: name to text (declarations and what follows included)."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        match = TOP_LEVEL.match(line)
        name = match[1] if match else name
        found[name] = found.get(name, "") + line + "\n"
    return found


def changed_functions(before: Path, after: Path, files: Iterable[str]) -> list[str]:
    """The functions in which two trees differ in `files`; the file where it is none.

    A function that moves to another of `files` is none, unless it differs there.
    """
    files = list(files)
    one, other = all_functions(before, files), all_functions(after, files)
    return [name for name in one | other if one.get(name) != other.get(name)]


def all_functions(tree: Path, files: Iterable[str]) -> dict[str, list[str]]:
    """The functions of those of `files` that are there, by name; several may have the same."""
    found: dict[str, list[str]] = {}
    for file in files:
        if (tree / file).exists():
            for name, text in functions((tree / file).read_text(errors="replace")).items():
                found.setdefault(name or file, []).append(text)
    return {name: sorted(texts) for name, texts in found.items()}
