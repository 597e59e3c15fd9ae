"""Files: schedules read from them, YAML or bytes; results written to them, whole or not at all."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE, S_ISREG
from typing import Final

from fuzz.schedule import codes, text
from fuzz.schedule.schedule import MAX_STEPS, Schedule, ScheduleError, block_of, printable

MAX_BYTES: Final = 512 << 10
"""Of a schedule's file. The longest schedule has some 360 KB as YAML."""
TEMPORARY: Final = re.compile(r"\.[0-9a-f]{16}\.tmp")
"""Names of files that are not whole yet."""
CONTROL: Final = re.compile("[\0-\x08\x0e-\x1f\x7f]")


def read_data(path: str) -> bytes:
    """What the file of a schedule holds. Raises ScheduleError with the file named."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ScheduleError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        limits = f"{MAX_BYTES >> 10} KB and {MAX_STEPS} steps"
        raise ScheduleError(f"{path}: too large, a schedule has at most {limits}")
    return data


def is_yaml(data: bytes, path: str) -> bool:
    """Is the schedule in `path` YAML, by its name or by what it holds? Codes are no text."""
    if path.endswith((".yaml", ".yml")):
        return True
    try:
        return bool(data) and not CONTROL.search(data.decode())
    except UnicodeDecodeError:
        return False


def schedule_in(data: bytes, path: str) -> Schedule:
    """The schedule that `path` holds as `data`. Raises ScheduleError with the file named."""
    name = Path(path).stem
    try:
        if is_yaml(data, path):
            return text.load(data.decode(), name)
        schedule = codes.decode(data)
        return schedule if schedule.name else schedule._replace(name=printable(name))
    except UnicodeDecodeError:
        raise ScheduleError(f"{path}: not UTF-8") from None
    except ScheduleError as error:
        raise ScheduleError(f"{path}: {error}") from None


def read_schedule(path: str, blocks: bool = False) -> Schedule:
    """The schedule in `path`, YAML or bytes. Raises ScheduleError with the file named.

    blocks: may messages land at basic blocks of real KVM? Models have none.
    """
    schedule = schedule_in(read_data(path), path)
    for number, step in enumerate(schedule.steps):
        if not blocks and block_of(step.at) is not None:
            raise ScheduleError(f"{path}: step {number}: only live runs know blocks")
    return schedule


def files_in(paths: list[str]) -> list[str]:
    """`paths`, with each folder's `*.yaml`, those in folders below too, in its place."""
    return [
        str(file)
        for path in paths
        for file in (sorted(Path(path).rglob("*.yaml")) if Path(path).is_dir() else [path])
    ]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` to `path`: a file whole or not at all, by way of a temporary one beside it.

    A file that was there keeps its mode, and a link its place: what it points to is written.
    Devices and FIFOs are written through. Raises OSError with `path` named.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        mode = mode_of(path)
        if mode is None or S_ISREG(mode):
            replace(Path(os.path.realpath(path)), data, mode)
        else:
            with os.fdopen(os.open(path, os.O_WRONLY), "wb") as there:
                there.write(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def mode_of(path: Path) -> int | None:
    """The mode of what is at `path`, or of what a link there points to; None if nothing is."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def replace(path: Path, data: bytes, mode: int | None) -> None:
    """Make `path`, no link, a file that holds `data`. mode: that of the file that is there."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), S_IMODE(mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on disk, where that can be had."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def sweep(folder: Path) -> None:
    """Remove what writes to `folder`, or below, have left that were cut off. Raises OSError."""
    for path in folder.rglob(".*.tmp"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file of lines. Raises OSError."""
    with path.open("ab") as file:
        file.write(f"{line}\n".encode())


def whole_lines(path: Path) -> list[str]:
    """The lines of a file, but a last one that was cut off. Raises OSError."""
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    return [line.rstrip("\n") for line in lines if line.endswith("\n")]


def drop_cut_off(path: Path) -> None:
    """Cut a file of lines where its last whole line ends. Raises OSError."""
    with path.open("rb+") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
