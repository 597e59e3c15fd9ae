"""What another machine needs of this one: the user's variants as text, and that its program is the
same."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import fuzz
import variants

PATIENCE: Final = 10
"""Seconds in which a scheduler has to answer, or to come back."""


class WorkerError(Exception):
    """A worker cannot do what it is asked: one line."""


class Call:
    """A call that is made where it is unpickled: `pickle.loads` gives what the function returns.

    A worker that is given a function of a program that it has not got, or its scheduler, dies over
    it; over `pickle.loads` it says what it has not got.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


class Own(NamedTuple):
    """A variant of the user's: the file, and what it holds."""

    path: str
    source: bytes


def own_files(options: Sequence[str]) -> list[str]:
    """The files among the options that choose variants."""
    pairs = zip(options[::2], options[1::2], strict=True)
    return [value for name, value in pairs if name == "--variant"]


def own_of(files: Sequence[str]) -> tuple[Own, ...]:
    """The user's variants with their text. Raises OSError."""
    return tuple(Own(path, Path(path).read_bytes()) for path in files)


def nothing() -> str:
    """What a worker lacks that has the program."""
    return ""


@contextmanager
def at_work(
    asked_by: str, own: Sequence[Own], lacks: Callable[[], str] = nothing
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """On a worker of a Dask cluster: a temporary folder, which Dask removes if the worker dies, and
    files there that hold the user's variants.

    asked_by: the program that asks. lacks: what the worker lacks besides, in one line, "" for
    nothing. Raises WorkerError if it is another program, or lacks something, and OSError.
    """
    from distributed import get_worker  # Not without its library.

    worker = get_worker()
    if asked_by != program():
        what = "has another version of eventdiff: install this one there"
        raise WorkerError(f"the worker at {worker.address} {what}")
    if what := lacks():
        raise WorkerError(f"the worker at {worker.address} {what}")
    with TemporaryDirectory(prefix="eventdiff-", dir=worker.local_directory) as name:
        files = []
        for number, one in enumerate(own):
            path = Path(name, str(number), Path(one.path).name)
            path.parent.mkdir()
            path.write_bytes(one.source)
            files.append(str(path))
        yield Path(name), tuple(files)


def as_given(said: str, own: Sequence[Own], files: Sequence[str]) -> str:
    """What is `said` of the `files` here, said of those that they stand for."""
    for one, file in zip(own, files, strict=True):
        said = said.replace(file, one.path)
    return said


@cache
def program() -> str:
    """A hash of this program. Raises OSError."""
    digest = hashlib.sha256()
    for package in (fuzz, variants):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
