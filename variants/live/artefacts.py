"""The cache's contents: folders named by what they were made from, each made once and whole."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final

from variants.live.emulator import LiveError, Stopped

COMPILER: Final = re.compile(r":\d+: (?:fatal )?error: |undefined reference")
WRONG: Final = re.compile(r"^E: |\berror\b|no space left|cannot|failed|is too old", re.IGNORECASE)
FOREIGN: Final = (
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARCH", "SRCARCH", "CROSS_COMPILE", "KCFLAGS", "KAFLAGS"),
    *("CC", "LD", "LLVM", "V", "W", "C", "M", "O", "KBUILD_OUTPUT", "KBUILD_EXTMOD"),
    *("KCONFIG_CONFIG", "KCONFIG_ALLCONFIG", "LOCALVERSION"),
)
"""What of the user's environment would make a kernel's build another."""
KEY: Final = 16
"""How many characters name an artefact's contents."""
TICK_SECONDS: Final = 0.2
GRACE_SECONDS: Final = 10.0
"""How long make has to remove what it has half written."""


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"setup: {text}", file=sys.stderr, flush=True)


def key_of(*parts: str | bytes) -> str:
    """A short name for contents: the same for the same parts only."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:KEY]


def execute(
    command: Sequence[str | Path],
    log: Path | None = None,
    folder: Path | None = None,
    stop: Event | None = None,
) -> str:
    """What the command prints; `log` gets it too. Nothing of it is left running on an exception.

    Raises LiveError if it fails, Stopped soon after `stop` is set.
    """
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    # The kernel's Makefile takes LC_ALL away, so the others too.
    environment |= dict.fromkeys(("LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LANG", "LANGUAGE"), "C")
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            printed, errors = communicate(process, stop)
        except BaseException:
            end(process)
            raise
    said = printed + errors
    if log:
        log.write_text(said)
    if process.returncode:
        where = f" (log: {log})" if log else ""
        raise LiveError(f"{command[0]} failed{where}: {telling(said)}")
    return printed


def communicate(process: "subprocess.Popen[str]", stop: Event | None) -> tuple[str, str]:
    """What the process prints. Raises Stopped soon after `stop` is set."""
    while stop:
        try:
            return process.communicate(timeout=TICK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.is_set():
                raise Stopped from None
    return process.communicate()


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether the command ends with status 0."""
    try:
        execute(command)
    except LiveError:
        return False
    return True


def end(process: "subprocess.Popen[str]") -> None:
    """End the process and its group."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def telling(said: str) -> str:
    """The first line that says what went wrong; the last lines if none seems to."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if COMPILER.search(line)] or [
        line for line in lines if WRONG.search(line)
    ]
    return " | ".join(wrong[:1] or lines[-3:])[:400]


class Store:
    """The cache folder while a setup holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log(self, name: str) -> Path:
        (self.folder / "logs").mkdir(exist_ok=True)
        return self.folder / "logs" / f"{name}.log"

    def place(self, name: str) -> Path:
        """Where the artefact of that name is or will be."""
        return self.folder / "store" / name

    def named(self, prefix: str) -> list[Path]:
        """The artefacts whose names are that and a key."""
        return sorted(self.place(f"{prefix}-").parent.glob(f"{prefix}-{'?' * KEY}"))

    def artefact(self, name: str, make: Callable[[Path], None]) -> Path:
        """The folder `name`; `make` fills it if it is not there. It appears whole or not at all."""
        final = self.place(name)
        if final.exists():
            progress(f"{name}: in the cache")
            os.utime(final)
            return final
        final.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix="making-", dir=self.folder, ignore_cleanup_errors=True
        ) as scratch:
            made = Path(scratch, name)
            made.mkdir()
            make(made)
            os.utime(made)  # unpacked files bring their own times
            made.rename(final)
        return final

    def record(self, name: str, text: str) -> None:
        """Write a file of the cache, whole or not at all."""
        file = self.folder / name
        if not file.exists() or file.read_text() != text:
            draft = self.folder / f"making-{name}"
            draft.write_text(text)
            draft.replace(file)

    def within(self, path: Path) -> str:
        """A path in the cache, as its files name it."""
        return str(path.relative_to(self.folder))


@contextmanager
def locked(folder: Path) -> Iterator[Store]:
    """The store in `folder`, for one setup at a time; leavings of one that broke off go away."""
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    if any(character in ':"#$%' or character.isspace() for character in str(folder)):
        raise LiveError(f"the cache folder's name has a character that make cannot take: {folder}")
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"another setup is at work in {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob("making-*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)  # its compilers may still be at work
            else:
                left.unlink()
        yield Store(folder)
