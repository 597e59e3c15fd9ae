"""How a campaign stands, on the terminal: live while it runs, and `eventdiff status`."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from fuzz.campaign.status import Pulse, State, Status, read_status
from fuzz.cli.output import on_terminal, seldom
from fuzz.cli.status import SAME
from fuzz.schedule.schedule import printable

UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eventdiff status`."""
    parser.epilog = "example: eventdiff status reports/latest"
    parser.add_argument("folder", type=Path, metavar="DIR", help="of a campaign")
    parser.add_argument("--json", action="store_true")


def do_status(options: argparse.Namespace) -> int:
    """Say how a campaign stands; the exit status."""
    status = read_status(options.folder)
    if options.json:
        print(json.dumps(status_json(status)))
    else:
        put(Console(), shown(status))
    return SAME


def put(console: Console, text: Text) -> None:
    """Print `text`; what is no terminal gets all of it."""
    if console.is_terminal:
        console.print(text, no_wrap=True, overflow="crop")
    else:
        print(text)


def status_json(status: Status) -> dict[str, Any]:
    """What `status --json` prints."""
    latest = [one._asdict() for one in status.latest]
    told: dict[str, Any] = {**status.pulse._asdict(), **status._asdict(), "latest": latest}
    del told["pulse"]
    return told


@contextmanager
def watching(folder: Path) -> Iterator[Callable[[], None]]:
    """A function that shows on a terminal how the campaign in `folder` stands, and elsewhere says
    so in a line, ever more seldom; to be called now and then."""
    console = Console(stderr=True, soft_wrap=True)
    if sys.stderr is None:
        yield lambda: None
    elif on_terminal() and not console.is_dumb_terminal:
        whole = sys.stdout is not None and sys.stdout.isatty()
        with Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=whole
        ) as live:
            # The terminal keeps its cursor, whatever ends this process.
            console.show_cursor()
            yield lambda: live.update(shown(read_status(folder)), refresh=True)
    else:
        say = seldom()
        yield lambda: say(lambda: line(read_status(folder)))


def shown(status: Status) -> Text:
    """A few lines, each cut off where the terminal ends."""
    told = [Text.assemble((f"{label:13}", "dim"), printable(text)) for label, text in rows(status)]
    whole = Text("\n").join(told)
    whole.no_wrap, whole.overflow = True, "crop"
    return whole


def rows(status: Status) -> Iterator[tuple[str, str]]:
    """What is shown, each with what it is called."""
    pulse = status.pulse
    yield "campaign", f"{status.campaign}: {state(pulse)}"
    yield "ran", f"{span(status.seconds)}, {counted(status.schedules, 'schedule')}"
    if pulse.overall:
        lately = f"{pulse.rate:,.0f} now, " if pulse.state == State.FUZZING else ""
        yield "a second", f"{lately}{pulse.overall:,.0f} while this session fuzzed"
    if pulse.corpus:
        yield "corpus", f"{counted(pulse.corpus, 'input')}, {counted(pulse.coverage, 'counter')}"
    kinds = ", ".join(f"{number} {kind}" for kind, number in status.kinds.items())
    yield "found", f"{found(status)}{kinds and f': {kinds}'}"
    for number, one in enumerate(status.latest):
        yield "" if number else "latest", f"{span(one.seconds):>11}  {one.signature}"
    if pulse.corpus and pulse.state == State.FUZZING:
        yield "nothing new", f"for {span(pulse.quiet)}"
    if status.running:
        yield "ends", ends(pulse)


def state(pulse: Pulse) -> str:
    """What the campaign does."""
    if pulse.state == State.FUZZING:
        return f"fuzzing, {counted(pulse.workers, 'worker')}"
    return "not running" if pulse.state == State.STOPPED else pulse.state


def line(status: Status) -> str:
    """The same in one line."""
    pulse = status.pulse
    told = [f"{span(status.seconds)}: {counted(status.schedules, 'schedule')}", found(status)]
    if pulse.state == State.FUZZING:
        told[1:1] = [f"{pulse.rate:,.0f} a second now"]
        told.append(f"nothing new for {span(pulse.quiet)}")
    else:
        told.append(f"{state(pulse)}: {ends(pulse)}" if status.running else state(pulse))
    return ", ".join(told)


def found(status: Status) -> str:
    """How many signatures, and of how many."""
    pulse = status.pulse
    if pulse.wanted is None:
        return counted(sum(status.kinds.values()), "signature")
    more = f" and {pulse.beyond} that it has not" if pulse.beyond else ""
    return f"{pulse.found} of {counted(pulse.wanted, 'signature')} of the certificate{more}"


def ends(pulse: Pulse) -> str:
    """What will end it."""
    if pulse.state == State.FINISHING:
        left = f", {counted(pulse.rough, 'signature')} left" if pulse.rough else ""
        return f"when what was found is as short as can be{left}; at once with Ctrl-C"
    ways = ["with Ctrl-C"]
    if pulse.until_complete:
        ways.insert(0, "when all are found")
    if pulse.until_quiet is not None:
        ways.insert(0, f"when nothing was new for {span(pulse.until_quiet)}")
    if pulse.left is not None:
        ways.insert(0, f"in {span(pulse.left)}")
    return ", or ".join(ways)


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """A time in its two largest units: 3 h 5 min."""
    left = round(seconds)
    parts = []
    for size, unit in UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2]) or "0 s"
