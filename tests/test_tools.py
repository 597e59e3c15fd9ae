"""The list of packages for live runs names all that setup asks for."""

from pathlib import Path

from variants.live import whole
from variants.live.requirements import FILES, TOOLS

ESSENTIAL = {"apt", "dpkg", "tar"}


def test_the_documented_packages_are_all() -> None:
    listed = (Path(__file__).parent.parent / "tools" / "live-packages").read_text().split()
    assert {*TOOLS.values(), *FILES.values(), *whole.TOOLS} - ESSENTIAL <= set(listed)
    assert listed == sorted(set(listed))
