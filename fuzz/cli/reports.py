"""`eventdiff report` and `show`: what a campaign or an exploration has found, read again."""

import argparse
from pathlib import Path

from fuzz.cli.status import DIFFERENT, SAME
from fuzz.page.page import write_page
from fuzz.page.read import FolderError, Ran, found_in, read_ran
from fuzz.report.folder import ruling_lines, slug
from fuzz.report.mail import Told, mail_text
from fuzz.report.ruled import Ruled
from fuzz.report.terminal import ending
from fuzz.schedule.schedule import printable


def add_report(parser: argparse.ArgumentParser) -> None:
    """The options of `report`."""
    parser.epilog = "example: eventdiff report reports/latest"
    parser.add_argument("folder", type=Path, metavar="DIR", help="where it wrote")


def add_show(parser: argparse.ArgumentParser) -> None:
    """The options of `show`."""
    parser.epilog = "examples: eventdiff show reports/latest; eventdiff show reports/latest 3"
    parser.add_argument("folder", type=Path, metavar="DIR", help="where it wrote")
    parser.add_argument(
        "number", type=int, nargs="?", metavar="N", help="which finding to show whole"
    )
    parser.add_argument("--all", action="store_true", help="list all findings")


def do_report(options: argparse.Namespace) -> int:
    """Write the page of a folder again; the exit status."""
    ran = read_ran(options.folder)
    found = found_in(ran)
    print(printable(str(write_page(options.folder, ran, found))))
    return DIFFERENT if found else SAME


def do_show(options: argparse.Namespace) -> int:
    """Show what was found, or one finding; the exit status."""
    ran = read_ran(options.folder)
    found = found_in(ran)
    if options.number is None:
        names = [variant.name for variant in ran.variants]
        print(ending(ran.extent, found, names, options.folder, options.all), end="")
        return DIFFERENT if found else SAME
    if not 1 <= options.number <= len(found):
        raise FolderError(f"{options.folder}: no finding {options.number}, there are {len(found)}")
    print(whole(ran, found[options.number - 1], options.folder), end="")
    return DIFFERENT


def whole(ran: Ran, one: Ruled, folder: Path) -> str:
    """A finding with its best form's trace, and where its other forms are."""
    form = one.best.form
    live = ran.lives.get(str(form.signature), "")
    told = Told(one.finding.title, ruling_lines(one, one.best), live)
    lines = [mail_text(one.best.result, told, ran.options)]
    others = [other for other in one.finding.forms if other != form]
    if others:
        lines.append("\nOther forms:\n\n")
    for other in others:
        lines.append(f"  {other.signature}\n    {folder / slug(other.signature) / 'trace.txt'}\n")
    return "".join(lines)


def finish(folder: Path, every: bool) -> str:
    """What a campaign or an exploration that has written its `folder` still has to do: the page.
    What to say then."""
    ran = read_ran(folder)
    found = found_in(ran)
    write_page(folder, ran, found)
    return ending(ran.extent, found, [variant.name for variant in ran.variants], folder, every)
