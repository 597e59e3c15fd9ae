"""A command in a process of its own, told from one whose process just ended.

A variant is code that anyone wrote. It may end the process that runs it, with any status, and that
must not be taken for a verdict. So this process only waits, and believes a status that it is told.
"""

import os
import signal
from collections.abc import Callable
from typing import Final

from fuzz.campaign.parent import end_with

PASSED_ON: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
"""Signals that are meant for the command."""


class Ended(Exception):
    """The process ended before it told a status: how it did."""


def apart(command: Callable[[], int]) -> int:
    """Run `command` in a child process, which returns from here with its status; so does this
    process, with the status that the child has told. Raises Ended if it has told none."""
    read, write = os.pipe()
    waited = {*PASSED_ON, signal.SIGCHLD, signal.SIGTSTP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    parent = os.getpid()
    child = os.fork()
    if child:
        os.close(write)
        ended = wait(child, waited)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return told(read, ended)
    os.close(read)
    # A group of its own: each signal comes once, from the parent.
    os.setpgid(0, 0)
    end_with(parent, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    status = command()
    os.write(write, bytes([status]))
    return status


def wait(child: int, waited: set[signal.Signals]) -> int:
    """Wait for `child`, as `os.waitpid` tells how it ended; what comes meanwhile is passed on."""
    while True:
        number = signal.sigwait(waited)
        if number == signal.SIGTSTP:
            os.killpg(child, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.killpg(child, signal.SIGCONT)
        elif number in PASSED_ON:
            os.killpg(child, number)
        else:
            done, ended = os.waitpid(child, os.WNOHANG)
            if done:
                return ended


def told(read: int, ended: int) -> int:
    """The status that a child that `ended` told; if a signal ended it that was passed on, that
    ends this process too. Raises Ended."""
    os.set_blocking(read, False)
    try:
        status = os.read(read, 1)
    except BlockingIOError:
        # Its own children live on and could still write.
        status = b""
    if status:
        return status[0]
    if not os.WIFSIGNALED(ended):
        raise Ended(f"ended the process with status {os.WEXITSTATUS(ended)}")
    number = signal.Signals(os.WTERMSIG(ended))
    if number in PASSED_ON:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    raise Ended(f"ended the process by {number.name}")
