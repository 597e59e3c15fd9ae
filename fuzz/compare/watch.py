"""A watch on steps that do not end.

A step of the model takes microseconds. One that the watch finds at work at two ticks hangs, and an
exception is raised in it. A step only notes that it begins and ends: the ticks are one timer's. It
counts processor time, so that a machine that stands still is no step that hangs.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

PERIOD: Final = 3.0
"""Seconds of processor time from tick to tick: a step may take as long, never twice as long."""

ASK: Final = signal.SIGUSR2
"""Asks a fuzzer process where it is: what hangs outside Python no exception reaches."""

doing: list[object] = [None]
"""What is at work, an object of its own each time; None between steps."""


class HangError(Exception):
    """A variant's step does not end: one line that says which, and where it was."""


class Hanging(BaseException):
    """Raised where a step hangs: file and line. No Exception, as variants may catch those."""


@contextmanager
def watched() -> Iterator[None]:
    """Meanwhile raise Hanging in a step that does not end. For the main thread: it has SIGPROF."""
    seen: object = None

    def tick(_signal: int, frame: FrameType | None) -> None:
        nonlocal seen
        if doing[0] is not None and doing[0] is seen and frame is not None:
            # Else the next tick might find what handles this one at work.
            doing[0] = None
            raise Hanging(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        seen = doing[0]

    before = signal.signal(signal.SIGPROF, tick)
    timer = signal.setitimer(signal.ITIMER_PROF, PERIOD, PERIOD)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, *timer)
        signal.signal(signal.SIGPROF, before)
