"""Schedules from files, YAML or bytes."""

from pathlib import Path

from fuzz import schedule_bytes, schedule_yaml
from fuzz.schedule import Schedule, ScheduleError


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
            return schedule_yaml.load(data.decode(), Path(path).stem)
        schedule = schedule_bytes.decode(data)
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
