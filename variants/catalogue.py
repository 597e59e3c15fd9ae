"""Which variants there are, and how a user's own is loaded."""

import hashlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from reprlib import repr as shortened
from types import ModuleType
from typing import Final

from variants import machine
from variants.link import machine_of
from variants.machine.step import VENDORS
from variants.variant import ROOT, LinkError, Variant, layers, marked_in

BUILT_IN: Final = ("original", "yadong", "paolo")
ENTRY_POINT_GROUP: Final = "eventdiff.variants"


class VariantError(Exception):
    """A variant that cannot be had: one line that says which and why."""


def built_in() -> dict[str, Variant]:
    """The variants of this project, and those that installed packages offer."""
    variants: dict[str, Variant] = {}
    for name in BUILT_IN:
        variants[name] = import_module(f"variants.{name}.model").VARIANT
    for point in entry_points(group=ENTRY_POINT_GROUP):
        where = f"variant {point.name} ({point.value})"
        try:
            with unchanged_machine():
                loaded = expect_variant(point.load(), where)
            check_linked(loaded, sys.modules[point.module])
        except VariantError:
            raise
        except (Exception, SystemExit) as error:
            raise VariantError(f"{where}: {describe(error)}") from None
        add(variants, loaded, where)
    return variants


def add(known: dict[str, Variant], variant: Variant, where: str) -> None:
    """Add `variant`, of the file or package `where`. Raises VariantError if its name is taken."""
    if variant.name in known:
        raise VariantError(f"{where}: there is a variant {variant.name} already")
    known[variant.name] = variant


def with_own(files: Sequence[str]) -> dict[str, Variant]:
    """`built_in` and those of the users' `files`, by name. Raises VariantError."""
    known = built_in()
    for path in files:
        add(known, load_file(path), path)
    return known


def offered() -> list[str]:
    """Where the variants come from that installed packages offer."""
    return [point.value for point in entry_points(group=ENTRY_POINT_GROUP)]


def load_file(path: str) -> Variant:
    """The `VARIANT` that the Python file at `path` defines."""
    known = hashlib.sha256(os.fsencode(Path(path).absolute())).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"{Path(path).stem}_{known}", path)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise VariantError(f"{path}: not a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[spec.name] = module
    try:
        # Not by the loader: Python's cache of bytecode misses a change within a second.
        source = Path(path).read_bytes()
    except OSError as error:
        raise VariantError(f"{path}: {error.strerror}") from None
    try:
        code = compile(source, path, "exec", dont_inherit=True)
        with unchanged_machine():
            exec(code, vars(module))
        variant = expect_variant(getattr(module, "VARIANT", None), path)
        check_linked(variant, module)
    except VariantError:
        raise
    except (Exception, SystemExit) as error:
        raise VariantError(f"{line_in(path, error)}: {describe(error)}") from None
    return variant


@contextmanager
def unchanged_machine() -> Iterator[None]:
    """Raise LinkError if what is done here assigns to something of the machine; undo it."""
    modules = [import_module(f"{ROOT}.{one.name}") for one in iter_modules(machine.__path__)]
    places: list[ModuleType | type] = [*modules]
    for module in modules:
        defined = [one for one in vars(module).values() if isinstance(one, type)]
        places += [one for one in defined if one.__module__ == module.__name__]
    before = [(place, name, value) for place in places for name, value in vars(place).items()]
    changed = []
    try:
        yield
    finally:
        for place, name, value in before:
            if not name.startswith("__") and vars(place).get(name) is not value:
                setattr(place, name, value)
                changed.append(f"{place.__name__}.{name}")
    if changed:
        raise LinkError(f"it assigns to {changed[0]}: a replacement is marked with @replaces")


def line_in(path: str, error: BaseException) -> str:
    """`path`, with the line that raised `error` if it is in there."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == path]
    if isinstance(error, SyntaxError) and error.filename == path and error.lineno:
        lines.append(error.lineno)
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
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]{0,39}", name):
        what = f"one word, 40 characters at most, not {shortened(name)}"
        raise VariantError(f"a variant's name is {what}")


def check_linked(variant: Variant, module: ModuleType) -> None:
    """Raise LinkError if `variant` cannot be linked, or its module marks what it does not list."""
    for vendor in VENDORS:
        machine_of(variant, vendor)
    listed = {one for layer in layers(variant) for one in layer.replacements}
    for function in marked_in(module):
        if function not in listed:
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
    known = with_own(files)
    own = list(known)[len(known) - len(files) :]
    chosen = names.split(",") if names else [*BUILT_IN]
    for name in chosen:
        if name not in known:
            there = f"{', '.join(known)}, or a file of yours with --variant"
            raise VariantError(f"unknown variant {name!r}, expected one of {there}")
        if chosen.count(name) > 1:
            raise VariantError(f"variant {name} given twice")
    chosen += [name for name in own if name not in chosen]
    if len(chosen) < least:
        raise VariantError("comparing needs two variants or more")
    return tuple(known[name] for name in chosen)
