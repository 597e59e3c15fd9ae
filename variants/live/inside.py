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
from variants.live.lines import LINES, blocks_before, lines_in, lines_text
from variants.live.patches import KVM
from variants.live.symbols import Frame, framed

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
FLOW: Final = "flow.json"
SOURCES: Final = "source"
"""The folder of the files that blocks are of, within that of their modules."""
SECTION: Final = re.compile(r"^Relocation section '\.rela(\.\S+)'")
CODE: Final = ".text"
"""How sections begin whose code runs once a module is loaded and may be traced."""
RELOCATION: Final = re.compile(rf"^([0-9a-f]+)\s.*\sR_X86_64_P(?:LT|C)32\s.*\s{CALLBACK}\b")
CALL: Final = 4
"""From a call's relocation to the instruction after it, which is what the callback sees."""


class Block(NamedTuple):
    """A basic block, and where its callback returns to.

    frames: the function and what it is inlined in, the innermost first.
    """

    place: Place
    frames: tuple[Frame, ...]


def objects_to_trace(files: Iterable[str]) -> tuple[str, ...]:
    """`INSTRUMENTED`, and the objects of those of `files`, as in the kernel's tree, that are C."""
    more = {
        os.path.relpath(file, KVM).removesuffix(".c")
        for file in files
        if file.endswith(".c") and file.startswith((KVM, "virt/kvm"))
    }
    return (*INSTRUMENTED, *sorted(more - set(INSTRUMENTED)))


def instrument(tree: Path, traced: Iterable[str]) -> None:
    """Have KVM's source in `tree` built with the callback in these objects; its header goes beside
    `tree`."""
    shutil.copy(SOURCE, tree / KVM)
    shutil.copy(HEADER, tree.parent)  # not a header of KVM's: of those each may change objects
    there = [name for name in traced if (tree / KVM / f"{name}.c").exists()]
    flags = "".join(f"CFLAGS_{name}.o += {FLAGS}\n" for name in there)
    with (tree / KVM / "Makefile").open("a") as makefile:
        makefile.write(OBJECT + flags)


def instrumented_name(name: str, modules: str, traced: Iterable[str] = INSTRUMENTED) -> str:
    """The artefact that is the instrumented twin of the one named `modules`."""
    recipe = (*traced, FLAGS, OBJECT, SOURCE.read_text(), HEADER.read_text(), LINES, FLOW, SOURCES)
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
    traced: Sequence[str] = INSTRUMENTED,
) -> Path:
    """The folder of the modules that `modules` are, built from `kernel` after `change`, with the
    callback, and with what is known of their blocks: where they are, which lines have code in
    which, and which comes after which."""

    def both(tree: Path, folder: Path) -> None:
        change(tree, folder)
        instrument(tree, traced)

    def make(folder: Path) -> None:
        objects = compiled(store, kernel)
        progress(f"{name}: building {', '.join(MODULES)} with a callback in each block")
        log = store.log(f"build-{name}{SUFFIX}")
        make_changed(objects, folder, both, os.cpu_count() or 1, log)
        tree = folder.parent / "tree"
        roots = [tree, *header_roots(kernel)]
        built = [tree / KVM / one for one in MODULES]
        found = [block for one in built for block in blocks_in(one, roots)]
        (folder / BLOCKS).write_text(json.dumps(found) + "\n")
        numbers = {block.place: number for number, block in enumerate(found)}
        (folder / LINES).write_text(lines_text(lines_in(built, numbers, CALLBACK, roots)))
        before = blocks_before(built, numbers, CALLBACK)
        (folder / FLOW).write_text(json.dumps(before) + "\n")
        for file in {frame.file for block in found for frame in block.frames}:
            if (tree / file).is_file():
                (folder / SOURCES / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(tree / file, folder / SOURCES / file)

    return store.artefact(instrumented_name(name, modules.name, traced), make)


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
        # An address within the call, for the one after it can be of another line.
        within = [offset - 1 for offset in offsets]
        for offset, frames in zip(offsets, framed(module, section, within, roots), strict=True):
            yield Block(Place(module.stem.replace("-", "_"), section, offset), frames)


def is_instrumented(modules: Path) -> bool:
    """Have the modules in a folder a callback in each block?"""
    return (modules / BLOCKS).exists()


def read_flow(modules: Path) -> dict[Place, list[Block]]:
    """By block of instrumented modules, those that come right before it in its function, as far as
    that can be seen."""
    blocks = read_blocks(modules)
    before: dict[str, list[int]] = json.loads((modules / FLOW).read_text())
    return {blocks[int(one)].place: [blocks[last] for last in all_] for one, all_ in before.items()}


def read_blocks(modules: Path) -> list[Block]:
    """The blocks of instrumented modules."""
    return [
        Block(Place(*place), tuple(Frame(*frame) for frame in frames))
        for place, frames in json.loads((modules / BLOCKS).read_text())
    ]
