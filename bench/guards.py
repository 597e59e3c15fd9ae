"""Guarded mutants: mutants of the machine that are active in some contexts only.

A plain mutant shows in nearly every schedule that comes by. What a patch gets wrong it mostly gets
wrong where several things come together. So here a mutant is one change of one function, made as
`bench.mutants` makes it (assignments are dropped too), that counts only where two to four bits of
the vCPU have chosen values when the function is called. Change, bits and values are drawn evenly.
Any function of KVM's in the machine can be changed, those of the guest cannot.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from random import Random
from types import FunctionType
from typing import Any, Final, NamedTuple, cast

from bench.mutants import Change, changed, changes
from variants.machine.step import Vendor
from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Req, Vcpu
from variants.variant import Variant, machine_functions, replaces

OF_KVM: Final = ("events", "ioctls", "lapic", "run", "smm")
"""Modules of the machine with functions to change, and the vendor's."""
LEFT_OUT: Final = ("carry", "host_runs", "kvm_vcpu_block", "spins")
"""Functions in them that are not KVM's, or whose one change makes them never end."""
LEAST: Final = 2
MOST: Final = 4
"""How many bits a guard has."""

Bit = Callable[[Vcpu], object]

BITS: Final[Mapping[str, Bit]] = {
    "BSP": lambda vcpu: vcpu.bsp,
    "L2": lambda vcpu: vcpu.guest_mode,
    "SMM": lambda vcpu: vcpu.smm,
    "RUNNABLE": lambda vcpu: vcpu.mp_state == Mp.RUNNABLE,
    "INIT_RECEIVED": lambda vcpu: vcpu.mp_state == Mp.INIT_RECEIVED,
    "HALTED": lambda vcpu: vcpu.mp_state == Mp.HALTED,
    "INIT pending": lambda vcpu: vcpu.pending_events & KVM_APIC_INIT,
    "SIPI pending": lambda vcpu: vcpu.pending_events & KVM_APIC_SIPI,
    "SMI pending": lambda vcpu: vcpu.smi_pending,
    "NMI pending": lambda vcpu: vcpu.nmi_pending,
    "NMIs masked": lambda vcpu: vcpu.nmi_mask,
    "interrupt pending": lambda vcpu: vcpu.irr,
    "interrupt in service": lambda vcpu: vcpu.isr,
    "injected": lambda vcpu: vcpu.nmi_injected or vcpu.irq_injected >= 0,
    "IF": lambda vcpu: vcpu.rflags_if,
    "APIC on": lambda vcpu: vcpu.apic_enabled,
    "KVM_REQ_EVENT": lambda vcpu: vcpu.requests & Req.EVENT,
    "KVM_REQ_NMI": lambda vcpu: vcpu.requests & Req.NMI,
    "KVM_REQ_SMI": lambda vcpu: vcpu.requests & Req.SMI,
    "in HLT": lambda vcpu: vcpu.in_hlt,
    "in a handler": lambda vcpu: vcpu.frames,
    "starting": lambda vcpu: vcpu.boot >= 0,
    "run pending": lambda vcpu: vcpu.nested_run_pending,
    "exit unseen": lambda vcpu: vcpu.nested_exit,
}
OF_VENDOR: Final[Mapping[Vendor, Mapping[str, Bit]]] = {
    "svm": {
        "GIF": lambda vcpu: vcpu.gif,
        "INIT intercepted": lambda vcpu: "init" in vcpu.controls,
        "NMI intercepted": lambda vcpu: "nmi" in vcpu.controls,
        "INTR intercepted": lambda vcpu: "intr" in vcpu.controls,
        "SMI intercepted": lambda vcpu: "smi" in vcpu.controls,
        "SVME": lambda vcpu: vcpu.svme,
        "window": lambda vcpu: vcpu.vintr or vcpu.nmi_singlestep or vcpu.iret_intercept,
    },
    "vmx": {
        "VMX operation": lambda vcpu: vcpu.vmxon,
        "NMI exiting": lambda vcpu: "nmi" in vcpu.controls,
        "INTR exiting": lambda vcpu: "intr" in vcpu.controls,
        "vmcs02": lambda vcpu: vcpu.vmcs02_loaded,
        "window": lambda vcpu: vcpu.irq_window or vcpu.nmi_window,
        "window of L1": lambda vcpu: vcpu.irq_window_l1 or vcpu.nmi_window_l1,
    },
}

Guard = tuple[tuple[str, bool], ...]
"""Names of bits, and the values they must have."""


class Mutant(NamedTuple):
    """`target`, a function of the machine, and `tree`, the same with one change: `about` says
    which. It counts where `guard` is met."""

    target: FunctionType
    about: str
    tree: ast.FunctionDef
    guard: Guard

    def __str__(self) -> str:
        where = ", ".join(name if value else f"not {name}" for name, value in self.guard)
        return f"{self.about}, if {where}"


def mutants(vendor: Vendor, count: int, seed: int) -> list[Mutant]:
    """`count` mutants of `original` for `vendor`, the same for the same seed."""
    random = Random(seed)
    made = [(target, *one) for target in targets(vendor) for one in changed(target, all_changes)]
    names = sorted(bits_of(vendor))

    def guard() -> Guard:
        chosen = random.sample(names, random.randint(LEAST, MOST))
        return tuple((name, random.random() < 0.5) for name in chosen)

    return [Mutant(*random.choice(made), guard()) for _ in range(count)]


def targets(vendor: Vendor) -> list[FunctionType]:
    """The functions that are changed: of a vCPU, and KVM's."""
    return [
        one
        for name, one in machine_functions().items()
        if one.__module__.rpartition(".")[2] in (*OF_KVM, vendor)
        and name not in LEFT_OUT
        and one.__code__.co_varnames[:1] == ("vcpu",)
    ]


def all_changes(node: ast.AST) -> Iterator[Change]:
    """The changes of `bench.mutants`, and assignments to the vCPU dropped."""
    yield from changes(node)
    if isinstance(node, ast.FunctionDef | ast.If):
        for place, statement in enumerate(node.body):
            if isinstance(statement, ast.Assign) and "vcpu." in ast.unparse(statement.targets[-1]):
                yield Change(f"without `{ast.unparse(statement)}`", "drop", place)


def bits_of(vendor: Vendor) -> Mapping[str, Bit]:
    """What a guard can ask, by name."""
    return {**BITS, **OF_VENDOR[vendor]}


def variant_of(mutant: Mutant, vendor: Vendor) -> Variant:
    """`original` with the mutant."""
    changed = function_of(mutant)
    bits = bits_of(vendor)
    asked = [(bits[name], value) for name, value in mutant.guard]
    target = mutant.target

    @replaces(target)
    @wraps(target)
    def replacement(vcpu: Vcpu, *rest: Any) -> Any:
        met = all(bool(bit(vcpu)) == value for bit, value in asked)
        return changed(vcpu, *rest) if met else target(vcpu, *rest)

    return Variant("mutant", "a guarded mutant", (replacement,))


def function_of(mutant: Mutant) -> FunctionType:
    """The changed function, without a guard."""
    names = {**vars(sys.modules[mutant.target.__module__]), "__name__": "mutant"}
    tree = ast.Module([mutant.tree], [])
    exec(compile(tree, "mutant", "exec"), names)
    return cast(FunctionType, names[mutant.target.__name__])


def watched(vendor: Vendor, called: set[tuple[str, int]]) -> Variant:
    """`original`, noting in `called` each function of `targets` that is called, with the values of
    `bits_of` in their order."""
    bits = [(1 << place, bit) for place, bit in enumerate(bits_of(vendor).values())]

    def noting(target: FunctionType) -> Callable[..., Any]:
        @replaces(target)
        @wraps(target)
        def replacement(vcpu: Vcpu, *rest: Any) -> Any:
            called.add((target.__name__, sum(value for value, bit in bits if bit(vcpu))))
            return target(vcpu, *rest)

        return replacement

    return Variant("watched", "original", tuple(map(noting, targets(vendor))))
