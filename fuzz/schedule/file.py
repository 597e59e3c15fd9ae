"""Files: schedules read from them, YAML or bytes; results written to them, whole or not at all."""

import os
from pathlib import Path

from fuzz.schedule import codes, text
from fuzz.schedule.schedule import Schedule, ScheduleError


def is_yaml(data: bytes) -> bool:
    """Bytes hold codes, and these have NULs or control characters; YAML has none."""
    return not any(byte < 9 or 13 < byte < 32 for byte in data[:64])


def read_schedule(path: str) -> Schedule:
    """The schedule in `path`, YAML or bytes. Raises ScheduleError with the file named."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ScheduleError(f"{path}: {error.strerror}") from None
    try:
        if path.endswith((".yaml", ".yml")) or (data and is_yaml(data)):
            return text.load(data.decode(), Path(path).stem)
        schedule = codes.decode(data)
        return schedule if schedule.name else schedule._replace(name=Path(path).stem)
    except UnicodeDecodeError:
        raise ScheduleError(f"{path}: not UTF-8") from None
    except ScheduleError as error:
        raise ScheduleError(f"{path}: {error}") from None


def files_in(paths: list[str]) -> list[str]:
    """`paths`, with each folder's `*.yaml`, those in folders below too, in its place."""
    return [
        str(file)
        for path in paths
        for file in (sorted(Path(path).rglob("*.yaml")) if Path(path).is_dir() else [path])
    ]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` by way of a temporary file beside it. Raises OSError."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
