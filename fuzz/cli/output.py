"""What the terminal gets: errors in one line, nothing that it would obey, in any encoding."""

import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from fuzz.live.run import Telling
from fuzz.schedule.schedule import printable

PAUSE: Final = 60.0
"""Seconds to the first line where there is no terminal."""
GROWTH: Final = 1.5
"""How much longer it is to each next one."""
LONGEST_PAUSE: Final = 3600.0


def escape_unencodable() -> None:
    """Have characters escaped that the encoding of our output has not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(message: object, who: str = "eventdiff") -> None:
    """Say on stderr what is wrong, in one line."""
    # Python has no stream, and print() another one, where the caller has closed it.
    if sys.stderr is not None:
        print(f"{who}: {printable(str(message))}", file=sys.stderr)


def write(data: bytes) -> None:
    """Write a schedule to stdout: as it would be in a file, whatever the terminal's encoding.

    Raises OSError, also if stdout is closed.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def show_line(text: str = "") -> None:
    """Rewrite a terminal's last line; "" clears it. Nothing where stderr is no terminal."""
    if on_terminal():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Is there a terminal to show on how things go?"""
    return sys.stderr is not None and sys.stderr.isatty()


def seldom() -> Callable[[Callable[[], str]], None]:
    """A function that says a line on stderr if it is time: after a minute, then ever more
    seldom. It is given what makes the line."""
    pause, due = PAUSE, time.monotonic() + PAUSE

    def say(line: Callable[[], str]) -> None:
        nonlocal pause, due
        if time.monotonic() >= due:
            complain(line())
            pause = min(pause * GROWTH, LONGEST_PAUSE)
            due = time.monotonic() + pause

    return say


@contextmanager
def ticking(what: str) -> Iterator[Callable[[], None]]:
    """A function that tells on a terminal for how long `what` has been going on."""
    began = time.monotonic()
    try:
        yield lambda: show_line(f"{what}: {time.monotonic() - began:.0f} s")
    finally:
        show_line()


TELLING = Telling(complain, ticking)
