"""Which variants there are, and how a user's own is loaded."""

import importlib
import importlib.util
import re
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from variants.link import Variant

BUILT_IN: Final = ("original", "yadong", "paolo")
ENTRY_POINT_GROUP: Final = "eventdiff.variants"


class VariantError(Exception):
    """A variant that cannot be had: one line that says which and why."""


def built_in() -> dict[str, Variant]:
    """The variants of this project, and those that installed packages offer."""
    variants: dict[str, Variant] = {}
    for name in BUILT_IN:
        variants[name] = importlib.import_module(f"variants.{name}.model").VARIANT
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:
            raise VariantError(f"variant {point.name} ({point.value}): {describe(error)}") from None
        variants[point.name] = expect_variant(loaded, point.value)
    return variants


def offered() -> list[str]:
    """Where the variants come from that installed packages offer."""
    return [point.value for point in entry_points(group=ENTRY_POINT_GROUP)]


def load_file(path: str) -> Variant:
    """The `VARIANT` that the Python file at `path` defines."""
    spec = importlib.util.spec_from_file_location(f"eventdiff_variant_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise VariantError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError:
        raise VariantError(f"{path}: no such file") from None
    except (Exception, SystemExit) as error:
        raise VariantError(f"{path}: {describe(error)}") from None
    return expect_variant(getattr(module, "VARIANT", None), path)


def expect_variant(candidate: object, source: str) -> Variant:
    if not isinstance(candidate, Variant):
        raise VariantError(f"{source}: defines no VARIANT of type variants.link.Variant")
    if not re.fullmatch(r"[\w.-]+", candidate.name):
        raise VariantError(f"{source}: a variant's name is one word, not {candidate.name!r}")
    return candidate


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def choose(names: str, files: Sequence[str]) -> tuple[Variant, ...]:
    """The variants to compare, the first the base.

    names: comma-separated, "" for the project's three. files: users' own, added after them.
    """
    known = built_in()
    chosen = []
    own = [load_file(path) for path in files]
    known |= {variant.name: variant for variant in own}
    for name in names.split(",") if names else BUILT_IN:
        if name not in known:
            raise VariantError(f"unknown variant {name!r}, expected one of {', '.join(known)}")
        chosen.append(known[name])
    chosen += [variant for variant in own if variant not in chosen]
    duplicates = {v.name for v in chosen if sum(w.name == v.name for w in chosen) > 1}
    if duplicates:
        raise VariantError(f"variant {duplicates.pop()} given twice")
    if len(chosen) < 2:
        raise VariantError("comparing needs two variants or more")
    return tuple(chosen)
