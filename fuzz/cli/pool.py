"""Explorations side by side, in a process each: here, or on the workers of a Dask cluster."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from math import inf
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from fuzz.campaign.campaign import asked_to_end
from fuzz.campaign.elsewhere import Call, Own, WorkerError, as_given, at_work, own_of, program
from fuzz.campaign.processes import environment
from fuzz.cli.output import show_line
from fuzz.compare.compared import StepError
from fuzz.compare.watch import HangError
from variants.catalogue import VariantError, describe
from variants.variant import LinkError

if TYPE_CHECKING:
    from distributed import Client

TICK: Final = 0.2
POLL: Final = 0.5
"""Seconds between two looks at a process, and at whether it is to end."""
WINDING_UP: Final = 60
"""Seconds in which what was asked to end tells what it has."""

Task = TypeVar("Task")
Found = TypeVar("Found")
Run = Callable[[Task, Sequence[str]], Found]
"""Explores, with the files of the user's variants; KeyboardInterrupt ends it with what it has."""


class ExplorerError(Exception):
    """A process that explores died, or a cluster failed: one line."""


TOLD: Final = (ExplorerError, HangError, LinkError, StepError, VariantError, WorkerError)
"""Errors that say in one line what is wrong."""


class Ending(Protocol):
    """Says that all is to end: `threading.Event`, or Dask's."""

    def set(self) -> None: ...

    def is_set(self) -> bool: ...


def in_process(
    run: Run[Task, Found], task: Task, files: Sequence[str], ended: Ending
) -> Found | None:
    """What `run` gives, in a process of its own; None if all was `ended` before it began. Raises
    ExplorerError if the process dies, and what is wrong with a variant."""
    if ended.is_set():
        return None
    # Until it can take it, it is not to have Ctrl-C.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.cli.explorer", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with process:
        try:
            told = talk(process, pickle.dumps((run, (task, files))), ended)
        finally:
            process.kill()
    if not told:
        own = f", with {', '.join(files)}" if files else ""
        raise ExplorerError(f"an exploring process ended early{own}")
    outcome: Found | Exception | None = pickle.loads(told)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def talk(process: "subprocess.Popen[bytes]", said: bytes, ended: Ending) -> bytes:
    """Say something to a process; what it answers, "" if nothing. If all has `ended`, ask it to
    end."""
    rest: bytes | None = said
    until: float | None = None
    while until is None or time.monotonic() < until:
        try:
            return process.communicate(rest, timeout=POLL)[0]
        except subprocess.TimeoutExpired:
            rest = None
        if until is None and ended.is_set():
            process.send_signal(signal.SIGINT)
            until = time.monotonic() + WINDING_UP
    return b""


def on_worker(
    run: Run[Task, Found], task: Task, own: Sequence[Own], asked_by: str, ended: Ending
) -> Found | None:
    """`in_process`, on a worker of a cluster. asked_by: the program there."""
    with at_work(asked_by, own) as (_, files):
        try:
            return in_process(run, task, files, ended)
        except TOLD as error:
            raise type(error)(as_given(str(error), own, files)) from None


def side_by_side(
    run: Run[Task, Found],
    tasks: Sequence[Task],
    files: Sequence[str],
    client: "Client | None" = None,
) -> list[Found | None]:
    """What `run` gives for each of `tasks`; None for those that had not begun when Ctrl-C came,
    which ends the others with what they have.

    files: the user's variants. client: of the cluster to run on; without it as many run at a time
    as there are processors here. Raises ExplorerError if a process dies, or the scheduler.
    """
    ended: Ending = threading.Event()
    if client:
        from distributed import Event  # Not without its library.

        ended, own = Event(client=client), own_of(files)
        pool: Executor = client.get_executor(pure=False)
        calls = [Call(on_worker, run, one, own, program(), ended) for one in tasks]
        futures = [pool.submit(pickle.loads, pickle.dumps(call)) for call in calls]
    else:
        pool = ThreadPoolExecutor(min(len(tasks), os.cpu_count() or 1))
        futures = [pool.submit(in_process, run, one, files, ended) for one in tasks]
    try:
        with asked_to_end() as asked:
            wait(futures, ended, asked, tell=client is not None)
            return [one.result() if one.done() else None for one in futures]
    except CancelledError:
        raise ExplorerError("the scheduler is gone") from None
    except TOLD:
        raise
    except Exception as error:
        if client is None:
            raise
        raise ExplorerError(
            f"a worker cannot explore, is eventdiff installed there? {describe(error)}"
        ) from None
    finally:
        show_line()
        if not all(one.done() for one in futures):
            ended.set()
        pool.shutdown(wait=False)


def wait(
    futures: Sequence[Future[Found]], ended: Ending, asked: Callable[[], bool], tell: bool
) -> None:
    """Wait until all are done, one fails, or all have been `asked` to end and had the time to.
    tell: how many are done."""
    until, left = inf, set(futures)
    while left and time.monotonic() < until:
        done, left = wait_for(left, timeout=TICK, return_when=FIRST_EXCEPTION)
        if tell:
            show_line(f"{len(futures) - len(left)} of {len(futures)} explorations are done")
        if any(one.cancelled() or one.exception() for one in done):
            return
        if until == inf and asked():
            ended.set()
            until = time.monotonic() + WINDING_UP
