"""The agent's own sources as one C file that runs one schedule: see `reproducer/main.c`."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from variants.live.agent_build import AGENT

STEP: Final = ("commands.h", "step.h")
HEADERS: Final = ("guest.h", "agent.h")
STUB: Final = "stub.S"
CODE: Final = ("memory.c", "vmcs.c", "kmsg.c", "run.c", "vm.c", "migrate.c", "step.c")
REPRODUCER: Final = Path(__file__).with_name("reproducer")
DRIVER: Final = ("words.c", "main.c")

INCLUDE: Final = re.compile(r"^#include (<.+>|\".+\")\n", re.MULTILINE)
FEATURES: Final = "#define _GNU_SOURCE\n"
GUARD: Final = re.compile(r"^#ifndef (\w+_H)\n#define \1\n(.*)^#endif\n", re.MULTILINE | re.DOTALL)
OF_FILE: Final = re.compile(r"^/\* \w+\.c \*/\n", re.MULTILINE)
DEFINED: Final = re.compile(r"^#define (\w+) ", re.MULTILINE)


def single_file(head: str, tables: str) -> str:
    """The program, from its sources as they are now.

    head: the comment that it begins with. tables: the C of what `reproducer/` takes as given.
    """
    texts = {name: (AGENT / name).read_text() for name in (*STEP, *HEADERS, STUB, *CODE)}
    texts |= {name: (REPRODUCER / name).read_text() for name in DRIVER}
    system = {name for text in texts.values() for name in INCLUDE.findall(text) if name[0] == "<"}
    includes = "".join(f"#include {name}\n" for name in sorted(system))
    stub = stub_as_c(texts[STUB], "".join(texts[name] for name in (*STEP, *HEADERS)))
    parts = [
        head,
        FEATURES + includes,
        *(alone(texts[name]) for name in STEP),
        tables,
        *(alone(texts[name]) for name in HEADERS),
        stub,
        *(alone(texts[name]) for name in (*CODE, *DRIVER)),
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def alone(source: str) -> str:
    """A source or header without what the file has once."""
    text = GUARD.sub(r"\2", INCLUDE.sub("", source).replace(FEATURES, ""))
    text = OF_FILE.sub("", text)
    return re.sub(r"\n{3,}", "\n\n", text)


def stub_as_c(stub: str, headers: str) -> str:
    """The guest's code for the assembler; the names that it takes from the headers, as symbols."""
    names = [name for name in DEFINED.findall(headers) if re.search(rf"\b{name}\b", stub)]
    return "\n".join(
        (
            "/* The guest's code, for the assembler, which is told the names above. */",
            "#define VALUE(name) #name",
            '#define SET(name) ".set " #name ", " VALUE(name) "\\n"',
            "",
            "__asm__(",
            *wrapped(f"SET({name})" for name in names),
            f'R"(\n{INCLUDE.sub("", stub)})");',
        )
    )


def wrapped(words: Iterable[str], width: int = 96) -> list[str]:
    """The words in lines of at most `width` characters."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines
