"""One boot of an emulator: start it, follow what the agent prints, stop it when it hangs."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

from variants.live.protocol import Ended, complaints, decode

POLL_SECONDS: Final = 0.01
PRINTED: Final = "printed"
LAST_WORDS: Final = re.compile(
    r"(kernel BUG at|BUG:|Oops:|general protection fault|Kernel panic|watchdog: BUG).*"
)
"""What a kernel prints when it ends."""
BUILT_IN: Final = re.compile(r"/\S*/(?=(?:arch/x86|virt)/kvm/)")
"""The scratch folder that a KVM of ours was built in, which a BUG names."""


class LiveError(Exception):
    """A live run that cannot be: one line that says what is missing or wrong."""


class Unavailable(LiveError):
    """What live runs need is not to be had here: a tool, a package, a mirror."""


class Stopped(Exception):
    """What was under way has been told to stop."""


@dataclass(frozen=True)
class Machine:
    """How to boot a batch. `prepare` writes what the command needs into the folder given.

    boot_seconds, silence_seconds: how long the first line, and each next one, may take.
    few_bytes: a batch of more is run sooner by a boot than in a guest that is up.
    output: the file in that folder where the agent's lines appear; PRINTED is what the command
    itself prints.
    """

    name: str
    prepare: Callable[[Path, bytes], tuple[Sequence[str], Mapping[str, str], bytes]]
    boot_seconds: float
    silence_seconds: float
    few_bytes: int = 0
    output: str = "serial"


@dataclass
class Booted:
    """What one batch gave. `under_way` is the schedule it broke off in; `why` says how it ended.

    boots: 1, or 0 if the guest was up.
    """

    ended: dict[int, Ended]
    under_way: int | None
    done: bool
    why: str
    boots: int = 1


@dataclass(frozen=True)
class Running:
    """An emulator that runs, in its scratch folder."""

    machine: Machine
    process: "subprocess.Popen[bytes]"
    folder: Path

    @property
    def serial(self) -> Path:
        """Where the agent's lines appear."""
        return self.folder / self.machine.output


def boot(machine: Machine, folder: Path, image: bytes, stop: Event) -> Booted:
    """Boot `image` once, or until `stop`; `folder` is scratch space of this boot alone."""
    with started(machine, folder, image) as running:
        return followed(running, stop)


@contextmanager
def started(machine: Machine, folder: Path, image: bytes) -> Iterator[Running]:
    """Boots `image`, and kills the emulator in the end; `folder` is as in `boot`."""
    (folder / machine.output).write_bytes(b"")
    command, environment, stdin = machine.prepare(folder, image)
    with (folder / PRINTED).open("wb") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=os.environ | environment,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise LiveError(f"{command[0]} is not installed") from error
        assert process.stdin
        try:
            process.stdin.write(stdin)
            process.stdin.flush()
            yield Running(machine, process, folder)
        finally:
            # The agent has children when it is not in an emulator.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdin.close()


def followed(running: Running, stop: Event, begin: int = 0) -> Booted:
    """What the agent prints of a batch, until it is done; `begin`: what it had printed before."""
    why = follow(running, stop, begin)
    with running.serial.open("rb") as stream:
        stream.seek(begin)
        text = stream.read().decode(errors="replace")
    ended, under_way, done = decode(text)
    if last_words := LAST_WORDS.search(text):
        why = f"{why}: {BUILT_IN.sub('', last_words[0]).strip()}"
    elif not ended and not done:
        said = [
            *complaints(text),
            *tail(text),
            *tail((running.folder / PRINTED).read_text(errors="replace")),
        ]
        why = f"{why}: {said[0]}" if said else why
    return Booted(ended, under_way, done, why, boots=0 if begin else 1)


def tail(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()][-1:]


def follow(running: Running, stop: Event, begin: int) -> str:
    """Wait until the agent is done, the emulator ends or nothing is printed for too long."""
    machine, process, serial = running.machine, running.process, running.serial
    size, last = begin, time.monotonic()
    while not stop.is_set():
        ended = process.poll() is not None
        now = serial.stat().st_size
        if now != size:
            size, last = now, time.monotonic()
            with serial.open("rb") as stream:
                stream.seek(max(0, size - 4))
                if stream.read().replace(b"\r", b"").endswith(b"\nD\n"):
                    return "done"
        if ended:
            return f"{machine.name} ended (status {process.returncode})"
        allowed = machine.silence_seconds if size else machine.boot_seconds
        if time.monotonic() - last > allowed:
            return f"{machine.name} printed nothing for {allowed:.0f} s"
        time.sleep(POLL_SECONDS)
    return "stopped"
