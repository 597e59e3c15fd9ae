"""A process that explores: `python -m fuzz.cli.explorer PARENT`.

It takes a function and its arguments from its standard input, pickled, and gives the outcome on
its standard output: what the function returns, the error that it raises, or None if it was asked to
end, by SIGINT, before it could begin. It is started with SIGINT blocked, and ends with its parent.
"""

import os
import pickle
import signal
import sys
import traceback

from fuzz.campaign.parent import end_with
from fuzz.cli.pool import TOLD, ExplorerError
from fuzz.compare.watch import watched
from variants.catalogue import describe


def outcome(task: bytes) -> object:
    """What comes of the pickled `task`."""
    try:
        run, arguments = pickle.loads(task)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        with watched():
            return run(*arguments)
    except KeyboardInterrupt:
        return None
    except TOLD as error:
        return error
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return ExplorerError(f"{at.filename}:{at.lineno}: {describe(error)}")


def main() -> None:
    end_with(int(sys.argv[1]), signal.SIGKILL)
    told = os.dup(1)
    # What variants print is not the outcome.
    os.dup2(2, 1)
    with os.fdopen(told, "wb") as out:
        out.write(pickle.dumps(outcome(sys.stdin.buffer.read())))


if __name__ == "__main__":
    main()
