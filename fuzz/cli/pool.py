"""Explorations side by side, in a process each."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children
from types import FrameType
from typing import TypeVar

from fuzz.campaign.parent import end_with

Task = TypeVar("Task")
Found = TypeVar("Found")


class ExplorerError(Exception):
    """A process that explores died: one line."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt here, though the process that started this one waits."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def side_by_side(
    run: Callable[[Task], Found], tasks: Sequence[Task], files: Sequence[str]
) -> list[Found]:
    """What `run` gives for each of `tasks`; as many run at a time as there are processors.

    Ctrl-C ends what runs, not the waiting: `run` is `interruptible` and returns what it has. What
    had not begun by then is left out. files: the user's variants, to be named if a process dies,
    which raises ExplorerError.
    """
    if len(tasks) == 1:
        return [run(tasks[0])]
    futures: list[Future[Found]] = []

    def cancel(_number: int, _frame: FrameType | None) -> None:
        for future in futures:
            future.cancel()

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        workers = min(len(tasks), os.cpu_count() or 1)
        with ProcessPoolExecutor(workers, initializer=end_with_starter) as pool:
            futures += [pool.submit(run, task) for task in tasks]
            signal.signal(signal.SIGINT, cancel)
            try:
                return list(ended(futures))
            except BaseException:
                for process in active_children():
                    process.terminate()
                raise
    except BrokenProcessPool:
        own = f", with {', '.join(files)}" if files else ""
        raise ExplorerError(f"an exploring process ended early{own}") from None
    finally:
        signal.signal(signal.SIGINT, before)


def ended(futures: Sequence[Future[Found]]) -> Iterator[Found]:
    """The results of those that were not cancelled."""
    for future in futures:
        try:
            yield future.result()
        except CancelledError:
            continue


def end_with_starter() -> None:
    """Ignore Ctrl-C but where it is asked for, and end when the process that started this one is
    gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(os.getppid(), signal.SIGKILL)
