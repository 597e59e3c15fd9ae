"""What is compared: a vendor and the variants, each as the step function of one vCPU."""

import traceback
from collections.abc import Sequence
from typing import NamedTuple

from variants.link import Variant, linked, step_vcpu_of
from variants.machine import vmx
from variants.machine.machine import Arrivals, StepVcpu, VcpuStep
from variants.machine.step import Step, Vendor
from variants.machine.vcpu import VcpuState

Group = tuple[int, ...]
"""Indices into the compared variants, ascending."""


class Compared(NamedTuple):
    """A vendor and the variants, with their (perhaps memoised) vCPU steps. l2_waits: which let L2
    be in wait-for-SIPI."""

    vendor: Vendor
    names: tuple[str, ...]
    step_vcpus: tuple[StepVcpu, ...]
    l2_waits: tuple[bool, ...]


def compared(vendor: Vendor, variants: Sequence[Variant]) -> Compared:
    """Compare `variants`, the first being the base, without memory of earlier steps."""
    names = tuple(variant.name for variant in variants)
    steps = tuple(guarded(variant, vendor) for variant in variants)
    check = vmx.nested_check_guest_non_reg_state
    waits = tuple(not linked(variant, vendor, check)("wait-for-sipi") for variant in variants)
    return Compared(vendor, names, steps, waits)


class HookError(Exception):
    """A variant's hook raised: one line that says which, where and why."""


def guarded(variant: Variant, vendor: Vendor) -> StepVcpu:
    """The vCPU step of `variant`; what its hooks raise becomes a HookError."""
    step_vcpu = step_vcpu_of(variant, vendor)

    def guard(state: VcpuState, taken: Step, arrivals: Arrivals) -> VcpuStep:
        try:
            return step_vcpu(state, taken, arrivals)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = " ".join(f"{type(error).__name__}: {error}".split())
            message = f"{where.filename}:{where.lineno}: variant {variant.name}: {what}"
            raise HookError(message) from None

    return guard
