"""`eventdiff compare`: two campaigns or explorations told apart."""

import argparse
import json
from pathlib import Path
from typing import Any, Final

from fuzz.cli.status import DIFFERENT, SAME
from fuzz.page.read import FolderError, extent, told_in
from fuzz.report.changes import Run, as_called, changes, changes_text, renamed, run_of
from fuzz.schedule.schedule import printable

EXAMPLES: Final = """\
examples:
  eventdiff compare reports/v1 reports/v2
  eventdiff compare --json corpus/exhaustive.json reports/latest

Signatures are new (B alone has them), gone (A alone), shorter (B's reproducer is), or changed: a
longer reproducer, another ruling, or what a latent one shows as. Variants of other names are taken
for those in the same places: versions of a patch.

exit status: 0 nothing of that, 1 something, 2 trouble
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eventdiff compare`."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("before", type=Path, metavar="A", help="a run's folder, or a certificate")
    parser.add_argument("after", type=Path, metavar="B", help="likewise")
    parser.add_argument("--json", action="store_true")


def read_told(path: Path) -> dict[str, Any]:
    """The JSON of a run's folder, or in a file. Raises FolderError and OSError."""
    if path.is_dir():
        return told_in(path)[1]
    try:
        told = json.loads(path.read_text())
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise FolderError(f"{path}: neither a campaign nor a certificate")
    return told


def read_run(told: dict[str, Any], path: Path) -> tuple[Run, str]:
    """What the run of `path` found, and how much it has run. Raises FolderError."""
    try:
        return run_of(told), extent(told)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FolderError(f"{path}: neither a campaign nor a certificate") from None


def do_compare(options: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    paths = options.before, options.after
    before, after = map(read_told, paths)
    runs = [read_run(*pair) for pair in zip((before, after), paths, strict=True)]
    (one, _), (other, _) = runs
    names = as_called(before, after)
    found = changes(one, {renamed(name, names): shown for name, shown in other.items()})
    if options.json:
        told = {kind: [each._asdict() for each in some] for kind, some in found._asdict().items()}
        print(json.dumps(told))
    else:
        said = [f"{its} in {paths[1]} is compared with {own}" for its, own in names.items()]
        if any(found):
            # What the shorter run lacks may be no difference.
            pairs = zip(paths, runs, strict=True)
            said += [f"{path}: {how}" for path, (_, how) in pairs if how]
        print("\n".join(map(printable, [*said, *changes_text(found).splitlines()])) or "the same")
    return DIFFERENT if any(found) else SAME
