"""What a variant is: functions that replace functions of the machine, each named as in KVM.

    from variants.machine import run
    from variants.variant import Variant, replaces

    @replaces(run.vcpu_block)
    def vcpu_block(vcpu: Vcpu) -> Ran: ...

    VARIANT = Variant("mine", "my patch, v1", (vcpu_block,))

`variants.link` says what that means.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from reprlib import repr as shortened
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, ParamSpec, TypeVar, cast

from variants import machine

P = ParamSpec("P")
R = TypeVar("R")

ROOT: Final = "variants.machine"
VOCABULARY: Final = ("ops", "points", "step", "vcpu")
"""Modules without a function of KVM's."""
DRIVERS: Final = ("initial_state", "initial_vcpu", "step")
"""Functions of `machine.machine` that run machines: they are of no variant."""


SUSPENDS: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class LinkError(Exception):
    """A variant that does not fit the machine: one line that says what does not, and why."""


_targets: dict[FunctionType, FunctionType] = {}
"""By replacement, what it replaces."""


def replaces(target: Callable[P, R]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function as the replacement of `target`, one of `machine_functions`.

    Raises LinkError if `target` is none, or the parameters differ.
    """
    if not isinstance(target, FunctionType) or target not in machine_functions().values():
        raise LinkError(f"{name_of(target)} is no function of the machine: it cannot be replaced")

    def mark(replacement: Callable[P, R]) -> Callable[P, R]:
        if not isinstance(replacement, FunctionType):
            raise LinkError(
                f"{shortened(replacement)} replaces {name_of(target)}, but is no plain function"
            )
        if replacement.__code__.co_flags & SUSPENDS:
            what = "is a generator or coroutine: calling it runs nothing"
            raise LinkError(f"{replacement.__name__} {what}")
        if signature_of(replacement) != signature_of(target):
            raise LinkError(
                f"{replacement.__name__}{inspect.signature(replacement)} cannot replace "
                f"{name_of(target)}{inspect.signature(target)}: the parameters differ"
            )
        _targets[replacement] = target
        return replacement

    return mark


def target_of(function: object) -> FunctionType | None:
    """What a function is marked to replace; None if nothing."""
    return _targets.get(function) if isinstance(function, FunctionType) else None


def of_machine(function: FunctionType) -> bool:
    """Is it defined in the machine? What functools.wraps has copied says nothing of that."""
    return str(function.__globals__.get("__name__")).startswith(f"{ROOT}.")


def name_of(function: object) -> str:
    """A function as one writes it: `run.vcpu_block`."""
    if not isinstance(function, FunctionType | BuiltinFunctionType | type):
        return shortened(function)
    return f"{str(function.__module__).rpartition('.')[2]}.{function.__name__}"


def signature_of(function: FunctionType) -> list[tuple[str, object, object]]:
    """What two functions must have in common: the parameters' names, kinds and defaults."""
    parameters = inspect.signature(function).parameters.values()
    return [(one.name.lstrip("_"), one.kind, one.default) for one in parameters]


@dataclass(frozen=True)
class Variant:
    """One implementation of event handling.

    name: a word, unique among the variants compared.
    provenance: where the change comes from: kernel version, patch and date.
    replacements: functions marked by `replaces`, of different functions of the machine.
    on: the variant that this one builds on; None for the machine as it is.

    Raises LinkError if two replacements are of one function, or one is of none.
    """

    name: str
    provenance: str
    replacements: tuple[Callable[..., Any], ...] = ()
    on: "Variant | None" = None

    def __post_init__(self) -> None:
        if not isinstance(self.provenance, str):
            raise LinkError(f"variant {self.name}: its provenance is no text")
        if not isinstance(self.replacements, tuple):
            raise LinkError(f"variant {self.name}: replacements is no tuple of functions")
        if not isinstance(self.on, Variant | None):
            raise LinkError(
                f"variant {self.name}: it can be built on a Variant, not {shortened(self.on)}"
            )
        known: dict[FunctionType, Callable[..., Any]] = {}
        under = layers(self.on) if self.on else []
        for function in self.replacements:
            target = target_of(function)
            if target is None:
                what = f"{name_of(function)} replaces nothing: mark it with @replaces(..)"
                raise LinkError(f"variant {self.name}: {what}")
            if target in known:
                both = f"{name_of(known[target])} and {name_of(function)}"
                raise LinkError(f"variant {self.name}: {both} both replace {name_of(target)}")
            if below := next((one for one in under if function in one.replacements), None):
                what = f"{name_of(function)} replaces {name_of(target)} in {below.name} already"
                raise LinkError(f"variant {self.name}: {what}")
            known[target] = function


def layers(variant: Variant) -> list[Variant]:
    """The variants that `variant` is built on, the lowest first, and itself."""
    return [*(layers(variant.on) if variant.on else ()), variant]


def replaced(variant: Variant) -> dict[FunctionType, FunctionType]:
    """By function of the machine, what `variant` has in its place."""
    return {
        _targets[function]: function
        for layer in layers(variant)
        for function in cast(tuple[FunctionType, ...], layer.replacements)
    }


def marked_in(module: ModuleType) -> list[FunctionType]:
    """The replacements that a module defines, also those that another has taken the name of."""
    return [one for one in _targets if one.__globals__ is vars(module)]


def machine_modules() -> list[ModuleType]:
    """The modules of the machine that do something."""
    names = [module.name for module in iter_modules(machine.__path__)]
    return [import_module(f"{ROOT}.{name}") for name in names if name not in VOCABULARY]


@cache
def machine_functions() -> dict[str, FunctionType]:
    """The functions of the machine that can be replaced, by name."""
    return {
        name: value
        for module in machine_modules()
        for name, value in vars(module).items()
        if isinstance(value, FunctionType)
        and value.__globals__ is vars(module)
        and name not in DRIVERS
    }
