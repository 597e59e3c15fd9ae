"""Where code of KVM's modules is: addresses in a guest system, and places in modules."""

from typing import Final, NamedTuple

Layout = tuple[tuple[int, str, str], ...]
"""For each section with code its address (the lower half), its module and its name."""


class Place(NamedTuple):
    """An offset in a section of a module."""

    module: str
    section: str
    offset: int

    def __str__(self) -> str:
        return f"{self.module}:{self.section}+{self.offset:x}"


NOWHERE: Final = Place("", "", 0)


def place(layout: Layout, address: int) -> Place:
    """Where an address is; `NOWHERE` if it is in none of the sections."""
    base, module, section = max(
        (one for one in layout if one[0] <= address), default=(address, "", "")
    )
    return Place(module, section, address - base)


def hits(text: str) -> list[int]:
    """The bits that are set in a row of bytes in hex, the lowest of each byte first."""
    return [
        8 * at + bit
        for at, byte in enumerate(bytes.fromhex(text))
        for bit in range(8)
        if byte >> bit & 1
    ]
