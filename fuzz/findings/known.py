"""What is known already: signatures with a title, a verdict and where they are discussed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from fuzz.schedule.text import place

FIELDS: Final = ("signature", "title", "verdict", "link")


class KnownError(Exception):
    """A file of known signatures that is none: one line."""


class Known(NamedTuple):
    """What is known of a signature. title: its cause. verdict: what was decided. link: where it is
    discussed. Each is text, and may be ""."""

    title: str
    verdict: str
    link: str


def read_known(path: Path) -> Mapping[str, Known]:
    """What is known, by signature, from a list of mappings as in corpus/known.yaml. Raises
    KnownError with the file named."""
    try:
        told = yaml.safe_load(path.read_text())
    except OSError as error:
        raise KnownError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KnownError(f"{path}: not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        where = place(error.problem_mark or error.context_mark)
        raise KnownError(f"{path}: {where}not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise KnownError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(told, list):
        raise KnownError(f"{path}: expected a list of signatures")
    return dict(known_of(one, f"{path}: entry {number}") for number, one in enumerate(told, 1))


def known_of(told: object, where: str) -> tuple[str, Known]:
    """An entry of the file. Raises KnownError with `where` it is."""
    if not isinstance(told, dict) or "signature" not in told:
        raise KnownError(f"{where}: expected a mapping with a signature")
    for name, value in told.items():
        if name not in FIELDS:
            raise KnownError(f"{where}: {name!r} is none of {', '.join(FIELDS)}")
        if not isinstance(value, str):
            raise KnownError(f"{where}: {name} is not text")
    return told["signature"], Known(*(told.get(name, "") for name in Known._fields))


def known_yaml(known: Mapping[str, Known]) -> str:
    """The text that `read_known` reads as `known`."""
    entries = [
        {"signature": name, **{field: text for field, text in one._asdict().items() if text}}
        for name, one in known.items()
    ]
    return yaml.safe_dump(entries, sort_keys=False, width=1000, allow_unicode=True)
