"""Plots of what was measured, as SVG; drawing them needs the extra `bench`."""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def add_svg(parser: argparse.ArgumentParser) -> None:
    """An option that names the plot to write: refused before anything is measured, not after."""
    parser.add_argument(
        "--svg", type=svg, metavar="FILE", help="write a plot; needs pip install -e '.[bench]'"
    )


def svg(name: str) -> Path:
    if find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("no matplotlib here: pip install -e '.[bench]'")
    return Path(name)


def subplots(*grid: int, **options: Any) -> Any:
    """A figure and its charts, as of matplotlib's function."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    return pyplot.subplots(*grid, **options)


def save(figure: Any, path: Path) -> None:
    """Write `figure`: the same bytes for the same data."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "eventdiff"
    figure.savefig(path, metadata={"Date": None})
