"""Which lines of KVM's source have code, and in which blocks of an instrumented build."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from variants.live.artefacts import execute
from variants.live.flow import Instruction, Known, calls_before, instructions, known_by
from variants.live.layout import Place
from variants.live.symbols import Frame, framed

LINES: Final = "lines.json"
CODE: Final = ".text"
"""What names of sections with code have in them; those that begin so are traced."""


class Code(NamedTuple):
    """Where a line has code; blocks are numbers in the build's list.

    blocks: those that are reached whenever the code is. before: those after which code may come
    that has no block of its own. sections: those in which its code calls nothing back.
    """

    blocks: frozenset[int] = frozenset()
    before: frozenset[int] = frozenset()
    sections: frozenset[str] = frozenset()

    def plus(self, other: "Code") -> "Code":
        return Code(
            self.blocks | other.blocks, self.before | other.before, self.sections | other.sections
        )


Lines = Mapping[str, Mapping[int, Code]]
"""By file, named as in the kernel's tree, and line: what has code in an instrumented file."""


def lines_in(
    modules: Iterable[Path], numbers: Mapping[Place, int], callback: str, roots: Sequence[Path]
) -> Lines:
    """The lines with code in modules that have debug information.

    numbers: of their blocks. roots: folders of source, to name files within.
    """
    found: dict[str, dict[int, Code]] = defaultdict(dict)
    for module in modules:
        name = module.stem.replace("-", "_")

        def numbered(places: Iterable[tuple[str, int]], name: str = name) -> frozenset[int]:
            return frozenset(
                numbers[place] for one in places if (place := Place(name, *one)) in numbers
            )

        for section, known, frames in code_in(module, callback, roots):
            code = Code(numbered(known.block), numbered(known.before))
            if not any(code):
                code = Code(sections=frozenset([section]))
            for file, line in {(frame.file, frame.line) for frame in frames if frame.line}:
                lines = found[file]
                lines[line] = lines[line].plus(code) if line in lines else code
    return found


def code_in(
    module: Path, callback: str, roots: Sequence[Path]
) -> Iterator[tuple[str, Known, tuple[Frame, ...]]]:
    """Each instruction of a module: its section, by which blocks it is known, what it is of."""
    sections: dict[str, dict[int, Known]] = defaultdict(dict)
    for (section, offset), known in known_by(disassembled(module, callback)).items():
        if CODE in section:
            sections[section][offset] = known
    for section, known_at in sections.items():
        frames = framed(module, section, list(known_at), roots)
        for known, of_it in zip(known_at.values(), frames, strict=True):
            yield section, known, of_it


def disassembled(module: Path, callback: str) -> list[Instruction]:
    """The instructions of a module."""
    said = execute(["objdump", "-drw", "--no-show-raw-insn", module])
    return list(instructions(said, callback))


def blocks_before(
    modules: Iterable[Path], numbers: Mapping[Place, int], callback: str
) -> dict[int, list[int]]:
    """By block, those that come right before it in its function, as far as the code shows; of where
    functions begin there is none."""
    found: dict[int, list[int]] = {}
    for module in modules:
        name = module.stem.replace("-", "_")
        for call, last in calls_before(disassembled(module, callback)).items():
            if (block := numbers.get(Place(name, *call))) is not None:
                places = (Place(name, *one) for one in last)
                found[block] = sorted(numbers[one] for one in places if one in numbers)
    return found


def lines_text(lines: Lines) -> str:
    """For a file of the build's."""
    plain = {
        file: {str(line): [sorted(part) for part in code] for line, code in sorted(of_file.items())}
        for file, of_file in sorted(lines.items())
    }
    return json.dumps(plain) + "\n"


def read_lines(modules: Path) -> Lines:
    """The lines of instrumented modules."""
    return {
        file: {int(line): Code(*map(frozenset, code)) for line, code in of_file.items()}
        for file, of_file in json.loads((modules / LINES).read_text()).items()
    }
