"""KVM built to be seen from inside: each basic block of its event handling calls back.

The callback (`kernel/inside.c`) is linked into kvm.ko; the agent turns it on for its own thread.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from variants.live.agent_build import AGENT
from variants.live.artefacts import Store, execute, key_of, progress
from variants.live.kbuild import MODULES, compiled, make_changed
from variants.live.layout import Place
from variants.live.patches import KVM

SUFFIX: Final = "+inside"
"""After a live variant's name: its instrumented build."""
INSTRUMENTED: Final = (
    *("x86", "lapic", "irq", "smm", "svm/svm", "svm/nested", "vmx/vmx", "vmx/nested"),
    "../../../virt/kvm/kvm_main",
)
"""The objects whose blocks call back, as KVM's makefile names them; a kernel need not have all."""
# Without the second, a tail call would give its caller's place for that of the block.
FLAGS: Final = "-fsanitize-coverage=trace-pc -fno-optimize-sibling-calls -g1"
# The export is named here, for KVM's makefile refuses sources that name it.
OBJECT: Final = """
kvm-y += inside.o
CFLAGS_inside.o := -I$(src)/../../../.. -DEXPORT_INSIDE=EXPORT_SYMBOL_GPL -fno-stack-protector
OBJECT_FILES_NON_STANDARD_inside.o := y
"""
SOURCE: Final = Path(__file__).parent / "kernel" / "inside.c"
HEADER: Final = AGENT / "inside.h"
CALLBACK: Final = "__sanitizer_cov_trace_pc"
BLOCKS: Final = "blocks.json"
TEXT: Final = "source"
"""The folder, beside the modules, of the instrumented files as they were built."""
SECTION: Final = re.compile(r"^Relocation section '\.rela(\.\S+)'")
CODE: Final = ".text"
"""How sections begin whose code runs once a module is loaded and may be traced."""
RELOCATION: Final = re.compile(rf"^([0-9a-f]+)\s.*\sR_X86_64_P(?:LT|C)32\s.*\s{CALLBACK}\b")
CALL: Final = 4
"""From a call's relocation to the instruction after it, which is what the callback sees."""


class Frame(NamedTuple):
    """A function in the source, and a line of it: `file` as in the kernel's tree."""

    function: str
    file: str
    line: int


class Block(NamedTuple):
    """A basic block, and where its callback returns to.

    frames: the function and what it is inlined in, the innermost first.
    """

    place: Place
    frames: tuple[Frame, ...]


def instrument(tree: Path) -> None:
    """Have KVM's source in `tree` built with the callback; its header goes beside `tree`."""
    shutil.copy(SOURCE, tree / KVM)
    shutil.copy(HEADER, tree.parent)  # not a header of KVM's: of those each may change objects
    flags = "".join(f"CFLAGS_{name}.o += {FLAGS}\n" for name in instrumented_in(tree))
    with (tree / KVM / "Makefile").open("a") as makefile:
        makefile.write(OBJECT + flags)


def instrumented_in(tree: Path) -> list[str]:
    """Those of `INSTRUMENTED` that there are."""
    return [name for name in INSTRUMENTED if (tree / KVM / f"{name}.c").exists()]


def keep_text(tree: Path, folder: Path) -> None:
    """Put the instrumented files of `tree` beside the modules: lines are told apart by them."""
    for name in instrumented_in(tree):
        file = Path(os.path.normpath(KVM + f"/{name}.c"))
        (folder / TEXT / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / file, folder / TEXT / file)


def instrumented_name(name: str, modules: str) -> str:
    """The artefact that is the instrumented twin of the one named `modules`."""
    recipe = (*INSTRUMENTED, FLAGS, OBJECT, TEXT, SOURCE.read_text(), HEADER.read_text())
    return f"inside-{name}-{key_of(modules, *recipe)}"


def instrumented_place(folder: Path, name: str, modules: str) -> Path:
    """Where it is in the cache, or would be."""
    return Store(folder).place(instrumented_name(name, modules))


def build_instrumented(
    store: Store,
    name: str,
    kernel: Path,
    modules: Path,
    change: Callable[[Path, Path], None],
) -> Path:
    """The folder of the modules that `modules` are, built from `kernel` after `change`, with the
    callback, with their source and a list of their blocks."""

    def both(tree: Path, folder: Path) -> None:
        change(tree, folder)
        instrument(tree)

    def make(folder: Path) -> None:
        objects = compiled(store, kernel)
        progress(f"{name}: building {', '.join(MODULES)} with a callback in each block")
        log = store.log(f"build-{name}{SUFFIX}")
        make_changed(objects, folder, both, os.cpu_count() or 1, log)
        tree = folder.parent / "tree"
        roots = [tree, *header_roots(kernel)]
        found = [block for one in MODULES for block in blocks_in(tree / KVM / one, roots)]
        keep_text(tree, folder)
        (folder / BLOCKS).write_text(json.dumps(found) + "\n")

    return store.artefact(instrumented_name(name, modules.name), make)


def header_roots(kernel: Path) -> list[Path]:
    """Where the headers are that KVM of `kernel` is built with."""
    headers = (kernel / "headers").resolve()
    return [headers, *headers.parent.glob("linux-headers-*-common")]


def blocks_in(module: Path, roots: Sequence[Path]) -> Iterator[Block]:
    """The blocks of a module that has its debug information.

    roots: folders of source, to name files within.
    """
    calls: dict[str, list[int]] = {}
    section = ""
    for line in execute(["readelf", "-rW", module]).splitlines():
        if found := SECTION.match(line):
            section = found[1]
        elif (found := RELOCATION.match(line)) and section.startswith(CODE):
            calls.setdefault(section, []).append(int(found[1], 16) + CALL)
    for section, offsets in calls.items():
        for offset, frames in zip(offsets, framed(module, section, offsets, roots), strict=True):
            yield Block(Place(module.stem.replace("-", "_"), section, offset), frames)


def framed(
    module: Path, section: str, offsets: Iterable[int], roots: Sequence[Path]
) -> Iterator[tuple[Frame, ...]]:
    """Where in the source the calls are that return to `offsets`."""
    # An address within the call, for the one after it can be of another line.
    asked = [f"{offset - 1:#x}" for offset in offsets]
    options = ["--addresses", "--functions", "--inlines", f"--section={section}"]
    said = execute(["addr2line", f"--exe={module}", *options, *asked])
    for answer in re.split(r"^0x[0-9a-f]+\n", said, flags=re.MULTILINE)[1:]:
        lines = answer.splitlines()
        yield tuple(
            Frame(function, *place_of(place, roots))
            for function, place in zip(lines[::2], lines[1::2], strict=True)
        )


def place_of(place: str, roots: Sequence[Path]) -> tuple[str, int]:
    """File and line of what addr2line prints: FILE:LINE, or FILE:LINE (discriminator N)."""
    path, _, line = place.partition(" ")[0].rpartition(":")
    file = Path(os.path.normpath(path))
    within = (file.relative_to(root) for root in roots if file.is_relative_to(root))
    return str(next(within, file.name)), int(line) if line.isdigit() else 0


def is_instrumented(modules: Path) -> bool:
    """Have the modules in a folder a callback in each block?"""
    return (modules / BLOCKS).exists()


def read_blocks(modules: Path) -> list[Block]:
    """The blocks of instrumented modules."""
    return [
        Block(Place(*place), tuple(Frame(*frame) for frame in frames))
        for place, frames in json.loads((modules / BLOCKS).read_text())
    ]
