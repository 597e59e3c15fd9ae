"""What is set up in a cache: `setup.json`, a line for each live variant."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from variants.live.debian import ABOUT
from variants.live.emulator import LiveError
from variants.live.offers import numbers
from variants.live.semantic import BASE

SETUP: Final = "setup.json"
COMMAND: Final = "run `eventdiff live setup`"
FORMAT: Final = 2
BASE_SERIES: Final = "5.10"
"""The series that the project's own variants are changes of."""
KERNEL: Final = "linux-"
STOCK: Final = "@stock"
"""After a kernel's name: the modules that came with it, not rebuilt."""


@dataclass(frozen=True)
class Entry:
    """A live variant. kernel, modules: folders within the cache.

    source: key of what it was built from. on: the variant that it is a change of, "" for a kernel.
    patch, tree: the user's file or folder, "" if there is none. pinned: the version that was asked
    for, "" for the newest.
    """

    kernel: str
    modules: str
    source: str = ""
    on: str = ""
    patch: str = ""
    tree: str = ""
    pinned: str = ""


@dataclass(frozen=True)
class Setup:
    """All of them, in the order of `in_order`; the agent and its key; Bochs, "" for the system's.

    agent, bochs: paths within the cache.
    """

    agent: str
    agent_key: str
    bochs: str
    variants: Mapping[str, Entry]

    def entry(self, name: str) -> Entry | None:
        """The variant of that name, or the kernel's own modules under NAME@stock."""
        plain = name.removesuffix(STOCK)
        found = self.variants.get(canonical(plain))
        if found and plain != name:
            stock = Path(found.kernel) / "stock"
            return None if found.on or found.tree else Entry(found.kernel, str(stock))
        return found


def canonical(name: str) -> str:
    """`original` is the name of Linux 5.10."""
    return BASE if name == KERNEL + BASE_SERIES else name


def is_kernel(name: str) -> bool:
    """Whether a variant is called as Debian's kernels are; a tree may be `linux-source-6.12`."""
    return re.fullmatch(rf"{KERNEL}\d+\.\d+", name) is not None


def read_setup(folder: Path) -> Setup:
    """What is set up in `folder`. Raises LiveError if nothing is."""
    try:
        contents = json.loads((folder / SETUP).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise LiveError(f"nothing is set up in {folder}: {COMMAND}") from None
    except ValueError:
        raise LiveError(f"{folder / SETUP} is damaged: {COMMAND}") from None
    if contents.get("format") != FORMAT:
        raise LiveError(f"{folder / SETUP} is of another version of eventdiff: {COMMAND}")
    variants = {name: Entry(**entry) for name, entry in contents["variants"].items()}
    return Setup(contents["agent"], contents["agent_key"], contents["bochs"], variants)


def setup_text(setup: Setup) -> str:
    """`setup.json`"""
    return json.dumps({"format": FORMAT, **asdict(setup)}, indent=1) + "\n"


def in_order(variants: Mapping[str, Entry]) -> dict[str, Entry]:
    """The base, other kernels from old to new, trees; below each what is built on it.

    Changes are in the order in which they came.
    """

    def place(base: str) -> tuple[bool, bool, list[int]]:
        kernel = is_kernel(base)
        return base != BASE, not kernel, numbers(base.removeprefix(KERNEL)) if kernel else []

    bases = sorted((name for name, one in variants.items() if not one.on), key=place)
    found: dict[str, Entry] = {}
    for base in bases:
        found[base] = variants[base]
        found |= {name: one for name, one in variants.items() if one.on == base}
    return found


def version_of(kernel: Path) -> str:
    """The version of a kernel in the cache, as Debian or its tree has it."""
    return str(json.loads((kernel / ABOUT).read_text())["version"])
