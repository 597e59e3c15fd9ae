"""What a variant's code can reach of the machine, and where it would not be the linked one.

`variants.link` rebinds the names that functions and modules have. What runs by another way, a class
or a container, would be the machine's own function, whatever the variant replaces, and nothing
would show it. So such a variant is refused.
"""

import dis
import gc
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.util import resolve_name
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from variants.machine.ops import X86Ops, kvm_x86_ops
from variants.variant import (
    ROOT,
    LinkError,
    Variant,
    machine_functions,
    name_of,
    of_machine,
    target_of,
)

TOOLS: Final = ("variants.variant", "variants.link", "variants.reach", "variants.catalogue", "fuzz")
"""Modules, and packages of modules, that know the machine and are no part of a variant."""
ABOUT: Final = ("__annotations__", "_abc_impl")
"""What of a class is no code."""
LINKED: Final = (FunctionType, ModuleType, X86Ops)
LIBRARY: Final = sysconfig.get_path("stdlib")
SITE: Final = ("site-packages", "dist-packages")


def uses_machine(value: object, plain: dict[int, object]) -> bool:
    """Does a function or module name something of the machine, or one that does, and so on?

    plain: what is known not to, by id, and is added to.
    """
    todo, seen = [value], dict[int, object]()
    while todo:
        one = todo.pop()
        if not isinstance(one, LINKED) or id(one) in seen or id(one) in plain:
            continue
        seen[id(one)] = one
        names: Mapping[str, Any] = {}
        match one:
            case X86Ops():
                return True
            case FunctionType():
                names = one.__globals__
                todo += cells_of(one).values()
            case ModuleType():
                names = vars(one)
        if id(names) in seen or is_tool(module := str(names.get("__name__"))):
            continue
        seen[id(names)] = names
        if f"{module}.".startswith(f"{ROOT}."):
            return True
        todo += names.values()
    plain |= seen
    return False


def is_tool(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"{tool}." for tool in TOOLS))


def cells_of(function: FunctionType) -> dict[str, object]:
    """What a function has of those around it."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    held = {}
    for name, cell in cells.items():
        try:
            held[name] = cell.cell_contents
        except ValueError:
            continue  # Not bound yet.
    return held


def check_reach(
    functions: Iterable[FunctionType],
    linked: Mapping[FunctionType, FunctionType],
    foreign: Collection[FunctionType],
    plain: dict[int, object],
) -> None:
    """Raise LinkError if `functions`, replacements, can reach what is not linked.

    linked: by function that is, the one it is a copy of. foreign: those of them that replace what
    the variant replaces otherwise. plain: as in `uses_machine`.
    """
    unlinked = set(machine_functions().values())
    todo: list[tuple[str, object]] = [(one.__name__, one) for one in functions]
    seen: dict[int, object] = {}
    while todo:
        where, one = todo.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        match one:
            case FunctionType() if one in unlinked:
                raise LinkError(held(where, name_of(one)))
            case FunctionType() if one in foreign:
                target = name_of(target_of(linked[one]))
                raise LinkError(f"{where} replaces {target} in another variant than this one")
            case FunctionType() if not of_machine(one):
                known = one in linked
                reached = [*held_by(one)]
                if known or not in_library(one):
                    check_imports(where, one, known, plain)
                    reached += named_by(one)
                for name, value in reached:
                    todo.append((f"{one.__name__}: {name}" if known else where, value))
            case X86Ops() if one is kvm_x86_ops:
                raise LinkError(held(where, "kvm_x86_ops"))
            case FunctionType() | ModuleType() | Variant():
                pass
            case type() if is_apart(one.__module__):
                pass
            case type():
                members = [value for name, value in vars(one).items() if name not in ABOUT]
                todo += [(where, other) for other in (type(one), *one.__mro__, *members)]
            case _:
                todo += [(where, other) for other in gc.get_referents(one)]


def is_apart(module: str) -> bool:
    """A module whose classes hold nothing of a variant's; one of Python's may list many others."""
    return module.partition(".")[0] in sys.stdlib_module_names or module.startswith(f"{ROOT}.")


def held(where: str, what: str) -> str:
    return f"{where} holds {what}: call it by its name instead, in a plain function"


def in_library(function: FunctionType) -> bool:
    """Is a function Python's own, or of an installed package?"""
    file = function.__code__.co_filename
    return file.startswith(("<frozen ", LIBRARY)) or any(site in file for site in SITE)


def held_by(function: FunctionType) -> Iterator[tuple[str, object]]:
    """What a function carries with it."""
    yield from cells_of(function).items()
    yield from (("a default", value) for value in function.__defaults__ or ())
    yield from (function.__kwdefaults__ or {}).items()
    yield from vars(function).items()


def named_by(function: FunctionType) -> Iterator[tuple[str, object]]:
    """What a function names: globals, and what is in the modules among them."""
    names = {name for code in codes(function) for name in code.co_names}
    todo = [("", function.__globals__, globals_in(function))]
    seen = [function.__globals__]
    while todo:
        path, there, wanted = todo.pop()
        for name in wanted & there.keys():
            value = there[name]
            if not isinstance(value, ModuleType):
                yield path + name, value
            elif not any(vars(value) is one for one in seen):
                seen.append(vars(value))
                todo.append((f"{path}{name}.", vars(value), names))


def codes(function: FunctionType) -> Iterator[CodeType]:
    """A function's code, and that of the functions defined in it."""
    todo = [function.__code__]
    while todo:
        yield (code := todo.pop())
        todo += [one for one in code.co_consts if isinstance(one, CodeType)]


def globals_in(function: FunctionType) -> set[str]:
    """The globals that a function reads."""
    return {
        str(one.argval)
        for code in codes(function)
        for one in dis.get_instructions(code)
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }


def imported_by(function: FunctionType) -> Iterator[str]:
    """The modules that a function imports, or names in a text as one does to import them."""
    for code in codes(function):
        known = [one for one in code.co_consts if isinstance(one, str)]
        yield from (one for one in known if f"{one}.".startswith(f"{ROOT}.") and " " not in one)
        instructions = list(dis.get_instructions(code))
        for level, one in zip(instructions, instructions[2:], strict=False):
            if one.opname == "IMPORT_NAME":
                yield "." * int(level.argval or 0) + str(one.argval)


def check_imports(
    where: str, function: FunctionType, known: bool, plain: dict[int, object]
) -> None:
    """Raise LinkError if `function` imports what may use the machine: one that is known to, which
    is linked, may only import what certainly does not."""
    for written in imported_by(function):
        try:
            name = resolve_name(written, function.__globals__.get("__package__"))
        except ImportError:
            name = written
        if name in sys.modules:
            may_use = uses_machine(sys.modules[name], plain)
        else:
            may_use = known and name.partition(".")[0] not in sys.stdlib_module_names
        if may_use:
            what = f"{where} imports {written} when called"
            raise LinkError(f"{what}: import it at the top of the file")
