"""Which variants there are, and how a user's own is loaded."""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

from variants.link import machine_of
from variants.machine.step import VENDORS
from variants.variant import LinkError, Variant, marked_in, replaced

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
    known = hashlib.sha256(os.fsencode(Path(path).absolute())).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"{Path(path).stem}_{known}", path)
    if spec is None or spec.loader is None:
        raise VariantError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        variant = expect_variant(getattr(module, "VARIANT", None), path)
        check_linked(variant, module)
    except VariantError:
        raise
    except FileNotFoundError:
        raise VariantError(f"{path}: no such file") from None
    except (Exception, SystemExit) as error:
        raise VariantError(f"{line_in(path, error)}: {describe(error)}") from None
    return variant


def line_in(path: str, error: BaseException) -> str:
    """`path`, with the line that raised `error` if it is in there."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == path]
    return f"{path}:{lines[-1]}" if lines else path


def expect_variant(candidate: object, source: str) -> Variant:
    if not isinstance(candidate, Variant):
        raise VariantError(f"{source}: defines no VARIANT of type variants.variant.Variant")
    try:
        check_name(candidate.name)
    except VariantError as error:
        raise VariantError(f"{source}: {error}") from None
    return candidate


def check_name(name: object) -> None:
    """Raise VariantError unless `name` is one word, of letters and digits, not too long."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,40}", name):
        raise VariantError(f"a variant's name is one word, 40 characters at most, not {name!r}")


def check_linked(variant: Variant, module: ModuleType) -> None:
    """Raise LinkError if `variant` cannot be linked, or its module marks what it does not list."""
    for vendor in VENDORS:
        machine_of(variant, vendor)
    for function in marked_in(module):
        if function not in replaced(variant).values():
            what = f"{function.__name__} is marked with @replaces, but VARIANT does not list it"
            raise LinkError(what)


def describe(error: BaseException) -> str:
    """An error in one line."""
    said = " ".join(str(error).split())
    return said if isinstance(error, LinkError) else f"{type(error).__name__}: {said}"


def choose(names: str, files: Sequence[str], least: int = 2) -> tuple[Variant, ...]:
    """The variants to compare, the first the base.

    names: comma-separated, "" for the project's three. files: users' own, added after them.
    Raises VariantError, also if these are fewer than `least`.
    """
    known = built_in()
    own = [load_file(path) for path in files]
    known |= {variant.name: variant for variant in own}
    chosen = []
    for name in names.split(",") if names else BUILT_IN:
        if name not in known:
            raise VariantError(f"unknown variant {name!r}, expected one of {', '.join(known)}")
        chosen.append(known[name])
    chosen += [variant for variant in own if variant not in chosen]
    duplicates = {v.name for v in chosen if sum(w.name == v.name for w in chosen) > 1}
    if duplicates:
        raise VariantError(f"variant {duplicates.pop()} given twice")
    if len(chosen) < least:
        raise VariantError("comparing needs two variants or more")
    return tuple(chosen)
