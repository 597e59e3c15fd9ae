"""The linker: puts a variant's functions in the place of those of the machine that they replace.

A variant is to the machine what a livepatch is to a kernel: a few functions, each named after the
one it replaces and of the same signature (`variants.variant`).

Why linking. A function of the machine calls others by their names, as C does. Python looks such a
name up in the globals of the function's module, at each call. So a variant needs no hook in the
machine and no table that each call goes through: it is enough to run the machine's functions with
other globals. `link` makes those. Nothing of the machine or of the variant's module is changed;
any number of variants live side by side.

What is rebound. For a variant and a vendor each module of the machine gets a copy of its globals in
which

- a function of the machine is its copy with copied globals, or, if the variant replaces it, the
  replacement, which gets a copy of its own module's globals in the same way;
- a module of the machine, as in `vmx.nested_vmx_vmexit`, is a module with these globals;
- `kvm_x86_ops` is the vendor's table, with its functions rebound.

Likewise helpers: functions and modules that use the machine's, or others that do.
Everything else (constants, types, other libraries) is shared. A copied function shares its
original's source, so tracebacks and inspect show the text one has written.

The function replaced. Inside a replacement the name of the function that it replaces means that
function as it would be without it. So a replacement can do something more and call the original,
and need not be a copy of it. Everywhere else the name means the replacement. A variant can build
`on` another: its replacements come on top, and "without it" then means the other variant's.

Why memory is sound. Campaigns and explorations compute a step of a vCPU once and remember it: by
state, step, messages, and the function that takes the step. Linking gives each variant and vendor a
function of its own, and the same one for as long as the process lives.

What a variant must not do, then:

- keep anything between calls, look at a clock, draw at random, read files: a step is a function of
  the vCPU's state, the step and the messages alone. What must last goes into the fields of `Vcpu`;
- call a function of the machine, or one of its own that does, by way of a class, a container, an
  object such as `functools.partial` or `functools.cache` makes, or an import inside a function.
  Those are not rebound; `variants.reach` finds and refuses them. What functions hold is rebound:
  closures (decorators, that is), default arguments, attributes;
- tell vCPUs apart by number, or look at what an ICR write sends to others: `vcpu.step` is the step
  as far as it concerns the vCPU that takes it, the same for all; only `sent` says that it sends;
- work anything out of the machine when it is imported, as in `BITS = nested_vmx_setup_ctls_msrs()`:
  that is the machine as it is, without the variant. (`kvm_x86_ops` says so itself.)
- change the machine's modules by assignment: `variants.catalogue` refuses that.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any, Final, ParamSpec, TypeVar, cast

from variants.machine import machine
from variants.machine.machine import Machine
from variants.machine.ops import X86Ops, kvm_x86_ops
from variants.machine.step import VENDORS, Vendor
from variants.machine.svm import SVM
from variants.machine.vmx import VMX
from variants.reach import cells_of, check_reach, uses_machine
from variants.variant import Variant, layers, of_machine, replaced, target_of

P = ParamSpec("P")
R = TypeVar("R")

TABLES: Final = {"svm": SVM, "vmx": VMX}


@cache
def machine_of(variant: Variant, vendor: Vendor) -> Machine:
    """The machine under `variant`, without memory. Raises LinkError.

    Variants that receive messages as the machine does share that function.
    """
    own = replaced(variant).keys() & reached(cast(FunctionType, machine.deliver))
    return Machine(
        linked(variant, vendor, machine.step_vcpu),
        linked(variant, vendor, machine.deliver) if own else machine.deliver,
    )


def sources(variant: Variant) -> set[Path]:
    """The files of what `variant` replaces and of what that calls, besides the machine's."""
    found = set()
    for vendor in VENDORS:
        linked(variant, vendor, machine.step_vcpu)
        found |= _linker(variant, vendor).sources()
    return found


def reached(function: FunctionType) -> set[FunctionType]:
    """A function of the machine and those that it calls by their names, and so on."""
    found: set[FunctionType] = set()
    todo = [function]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            named = [one.__globals__.get(name) for name in one.__code__.co_names]
            todo += [other for other in named if isinstance(other, FunctionType)]
    return found


def linked(variant: Variant, vendor: Vendor, function: Callable[P, R]) -> Callable[P, R]:
    """`function`, of the machine, as `variant` has it on `vendor`."""
    return cast(Callable[P, R], _linker(variant, vendor).function(cast(FunctionType, function)))


@cache
def _linker(variant: Variant, vendor: Vendor) -> "_Linker":
    return _Linker(variant, vendor)


class _Linker:
    """The machine's functions as one variant has them on one vendor, each copied when needed."""

    def __init__(self, variant: Variant, vendor: Vendor) -> None:
        self._layers = [
            {target_of(one): cast(FunctionType, one) for one in layer.replacements}
            for layer in layers(variant)
        ]
        self._vendor = vendor
        self._copies: dict[tuple[FunctionType, FunctionType | None], FunctionType] = {}
        self._originals: dict[FunctionType, FunctionType] = {}
        self._tables: dict[X86Ops, X86Ops] = {}
        self._modules: dict[tuple[int, FunctionType | None], ModuleType] = {}
        self._empty: list[tuple[ModuleType, Mapping[str, Any], FunctionType | None]] = []
        self._plain: dict[int, object] = {}

    def function(self, function: FunctionType) -> FunctionType:
        """The rebound `function`. Raises LinkError if what it calls would not all be rebound."""
        known = len(self._copies)
        found = self._version(function, len(self._layers))
        while self._empty:
            module, names, own = self._empty.pop()
            for name, value in names.items():
                vars(module)[name] = self._rebound(value, own)
        if len(self._copies) > known:
            self._check()
        self._plain.clear()
        return found

    def sources(self) -> set[Path]:
        """The files of the functions that are not the machine's."""
        own = (one for one in self._originals.values() if not of_machine(one))
        return {Path(one.__code__.co_filename) for one in own}

    def _check(self) -> None:
        replacements = {one for layer in self._layers for one in layer.values()}
        mine = [copy for copy, one in self._originals.items() if one in replacements]
        foreign = [
            copy
            for copy, one in self._originals.items()
            if one not in replacements and any(target_of(one) in layer for layer in self._layers)
        ]
        check_reach(mine, self._originals, foreign, self._plain)

    def _version(self, target: FunctionType, below: int) -> FunctionType:
        """What the layers under `below` have in place of a function of the machine."""
        found = (layer[target] for layer in reversed(self._layers[:below]) if target in layer)
        return self._copy(next(found, target), None)

    def _copy(self, function: FunctionType, around: FunctionType | None) -> FunctionType:
        """`function` with rebound names; `around`: the replacement in which it is defined."""
        own = function if target_of(function) else around
        made = self._copies.get((function, own))
        if made is None:
            module = self._module(function.__globals__, own)
            # A code object of its own: the interpreter notes in it where globals were found.
            code = function.__code__.replace()
            cells = tuple(CellType() for _ in code.co_freevars)
            made = FunctionType(code, vars(module), function.__name__, None, cells)
            self._copies[function, own] = made
            self._originals[made] = function
            made.__doc__, made.__module__ = function.__doc__, function.__module__
            bound = cells_of(function)
            for name, cell in zip(code.co_freevars, cells, strict=True):
                if name in bound:
                    cell.cell_contents = self._rebound(bound[name], own, own)
            defaults, named = function.__defaults__, function.__kwdefaults__
            made.__defaults__ = defaults and tuple(self._rebound(one, own) for one in defaults)
            made.__kwdefaults__ = named and self._all(named, own)
            vars(made).update(self._all(vars(function), own))
        return made

    def _all(self, values: Mapping[str, object], own: FunctionType | None) -> dict[str, object]:
        return {name: self._rebound(value, own) for name, value in values.items()}

    def _module(self, names: Mapping[str, Any], own: FunctionType | None) -> ModuleType:
        """A module with rebound globals, filled in later; `own`: as that replacement sees it."""
        module = self._modules.get((id(names), own))
        if module is None:
            name = str(names.get("__name__", "?"))
            module = self._modules[id(names), own] = ModuleType(name)
            self._empty.append((module, names, own))
        return module

    def _rebound(
        self, value: object, own: FunctionType | None, around: FunctionType | None = None
    ) -> object:
        match value:
            case FunctionType() if of_machine(value):
                below = self._layer_of(own) if own and value is target_of(own) else None
                return self._version(value, len(self._layers) if below is None else below)
            case FunctionType() if uses_machine(value, self._plain):
                return self._copy(value, around)
            case ModuleType() if uses_machine(value, self._plain):
                return self._module(vars(value), own)
            case X86Ops():
                return self._table(TABLES[self._vendor] if value is kvm_x86_ops else value)
            case _:
                return value

    def _layer_of(self, replacement: FunctionType) -> int:
        target = target_of(replacement)
        found = (n for n, one in enumerate(self._layers) if one.get(target) is replacement)
        return next(found, 0)

    def _table(self, table: X86Ops) -> X86Ops:
        known = self._tables.get(table)
        if known is None:
            functions = {
                field.name: self._rebound(getattr(table, field.name), None)
                for field in fields(X86Ops)
                if field.name != "vendor"
            }
            known = self._tables[table] = X86Ops(table.vendor, **cast(dict[str, Any], functions))
        return known
