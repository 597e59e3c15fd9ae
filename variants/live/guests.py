"""Guest systems that stay up: a further batch goes to the one that is there, and saves a boot.

It comes by the second serial port, a terminal on the host (agent/line.c). Between batches the
emulator is stopped: it would go through the guest's idle time as fast as it can.
"""

import os
import signal
import tempfile
import time
import tty
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from threading import Event, Lock
from typing import Final

from variants.live.emulator import POLL_SECONDS, Booted, Machine, Running, followed, started

BLOCK: Final = 2048
"""Bytes that the agent takes before it says so, as in agent/line.c."""
MOST: Final = 4
"""Guests that are kept, of 256 MiB each, unless told otherwise."""
PRINTED: Final = 64 << 20
"""Bytes: a guest that has printed more does not stay up, for all of it is kept."""


@dataclass(frozen=True)
class Guest:
    """line: the host's end of its second serial port. resources: all that is gone when it ends."""

    running: Running
    line: int
    resources: ExitStack

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.running.process.pid, number)


class Guests:
    """Those that are up, and what they were booted for; the one used last comes last."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.up: list[tuple[Hashable, Guest]] = []
        self.lock = Lock()

    def run(
        self,
        key: Hashable,
        machine: Callable[[str], Machine],
        image: Callable[[], bytes],
        batch: str,
        stop: Event,
    ) -> Booted:
        """Run `batch` in a guest of `key`; boot a new one if none is free, or it is too long.

        machine: what boots, by the name of the terminal. image: with `batch` in it. A guest stays
        up only if each schedule went well.
        """
        guest = self.taken(key)
        if guest and len(batch) > guest.running.machine.few_bytes:
            guest.resources.close()
            guest = None
        is_new = guest is None
        guest = guest or start(machine, image())
        stays = False
        try:
            booted = followed(guest.running, stop) if is_new else feed(guest, batch, stop)
            well = booted.done and all(one.word == "ok" for one in booted.ended.values())
            stays = well and guest.running.serial.stat().st_size < PRINTED
        finally:
            if stays:
                self.keep(key, guest)
            else:
                guest.resources.close()
        return booted

    def taken(self, key: Hashable) -> Guest | None:
        """A guest of `key` that nothing runs in."""
        with self.lock:
            free = [number for number, (other, _) in enumerate(self.up) if other == key]
            return self.up.pop(free[-1])[1] if free else None

    def keep(self, key: Hashable, guest: Guest) -> None:
        guest.signal(signal.SIGSTOP)
        with self.lock:
            self.up.append((key, guest))
            gone = self.up[: -self.most]
            del self.up[: -self.most]
        for _, one in gone:
            one.resources.close()

    def close(self) -> None:
        while self.up:
            self.up.pop()[1].resources.close()


@contextmanager
def guests(most: int = 0) -> Iterator[Guests]:
    """None yet; whatever ends it, none is left. most: how many are kept; 0: `MOST`."""
    those = Guests(most or MOST)
    try:
        yield those
    finally:
        those.close()


def start(machine: Callable[[str], Machine], image: bytes) -> Guest:
    with ExitStack() as resources:
        line, terminal = os.openpty()
        resources.callback(os.close, line)
        resources.callback(os.close, terminal)
        tty.setraw(terminal)
        folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="eventdiff-"))
        boots = started(machine(os.ttyname(terminal)), Path(folder), image)
        return Guest(resources.enter_context(boots), line, resources.pop_all())


def feed(guest: Guest, batch: str, stop: Event) -> Booted:
    """Run a further batch."""
    begin = guest.running.serial.stat().st_size
    guest.signal(signal.SIGCONT)
    text = batch.encode()
    os.write(guest.line, b"%d\n" % len(text))
    for at in range(0, len(text), BLOCK):
        os.write(guest.line, text[at : at + BLOCK])
        if not answered(guest, stop):
            return Booted({}, None, False, f"{guest.running.machine.name} took no further batch", 0)
    return followed(guest.running, stop, begin)


def answered(guest: Guest, stop: Event) -> bool:
    """Wait until the agent has taken a block; False if it will not."""
    end = time.monotonic() + guest.running.machine.silence_seconds
    while not stop.is_set() and guest.running.process.poll() is None and time.monotonic() < end:
        if select([guest.line], [], [], POLL_SECONDS)[0]:
            return os.read(guest.line, 1) == b"."
    return False
