"""What is compared: a vendor and the variants, each as a machine of its own."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from fuzz.compare.watch import HangError, Hanging, doing
from variants.link import linked, machine_of
from variants.machine import machine, vmx
from variants.machine.machine import Machine
from variants.machine.step import Step, Vendor
from variants.variant import Variant

P = ParamSpec("P")
R = TypeVar("R")
Group = tuple[int, ...]
"""Indices into the compared variants, ascending."""


@dataclass(frozen=True, eq=False)
class Compared:
    """A vendor and the variants, with their (perhaps memoised) machines. l2_waits: which let L2 be
    in wait-for-SIPI. Each is equal to itself alone: answers are remembered by it."""

    vendor: Vendor
    names: tuple[str, ...]
    machines: tuple[Machine, ...]
    l2_waits: tuple[bool, ...]


def compared(vendor: Vendor, variants: Sequence[Variant]) -> Compared:
    """Compare `variants`, the first being the base, without memory of earlier steps.

    Raises LinkError if one does not fit the machine, StepError and HangError as its steps do.
    """
    names = tuple(variant.name for variant in variants)
    machines = tuple(guarded_machine(variant, vendor) for variant in variants)
    check = vmx.nested_check_guest_non_reg_state
    checks = [guarded(variant, linked(variant, vendor, check)) for variant in variants]
    return Compared(vendor, names, machines, tuple(not one("wait-for-sipi") for one in checks))


def guarded_machine(variant: Variant, vendor: Vendor) -> Machine:
    """The machine of `variant`, guarded where it runs the variant's code."""
    step_vcpu, deliver = machine_of(variant, vendor)
    if deliver is not machine.deliver:
        deliver = guarded(variant, deliver)
    return Machine(guarded(variant, step_vcpu), deliver)


class StepError(Exception):
    """A variant's code raised, or called sys.exit: one line that says which, where and why."""


def guarded(variant: Variant, function: Callable[P, R]) -> Callable[P, R]:
    """`function`, of `variant`; what is raised in it becomes a StepError, and a HangError if it
    does not end and there is a watch."""

    def guard(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            doing[0] = arguments
            return function(*arguments, **named)
        except Hanging as where:
            steps = [one.op for one in arguments if isinstance(one, Step)]
            what = f"{(*steps, function.__name__)[0]} does not end"
            raise HangError(f"{where}: variant {variant.name}: {what}") from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            what = " ".join(f"{type(error).__name__}: {error}".split())
            message = f"{at.filename}:{at.lineno}: variant {variant.name}: {what}"
            raise StepError(message) from None
        finally:
            doing[0] = None

    return guard
