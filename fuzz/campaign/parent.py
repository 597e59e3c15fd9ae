"""A process that ends with the one that started it, however that one ends."""

import ctypes
import os
import signal
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def end_with(parent: int, number: signal.Signals) -> None:
    """Have the kernel send this process `number` when the process `parent`, its parent, is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
