"""INIT leaves nested first: a reset that finds L2 running goes back to L1's VMCS or VMCB.

Built on `paolo`, which can reset a vCPU out of L2's wait-for-SIPI and leaves L2's VMCS loaded.

    eventdiff fuzz --time 10 --variants paolo,original --variant docs/examples/kvm_vcpu_reset.py
"""

from variants.machine import events, svm, vmx
from variants.machine.ops import kvm_x86_ops
from variants.machine.vcpu import Vcpu
from variants.paolo.model import VARIANT as PAOLO
from variants.variant import Variant, replaces


@replaces(events.kvm_vcpu_reset)
def kvm_vcpu_reset(vcpu: Vcpu) -> None:
    """Leave L2 without an exit that L1 would see, then reset."""
    if vcpu.guest_mode:
        vcpu.nested_run_pending = False
        leave_nested(vcpu)
    events.kvm_vcpu_reset(vcpu)


def leave_nested(vcpu: Vcpu) -> None:
    """As entering SMM from L2 does."""
    if kvm_x86_ops.vendor == "svm":
        svm.nested_svm_vmexit(vcpu, "")
    else:
        vmx.nested_vmx_vmexit(vcpu, "")


VARIANT = Variant("leave-nested", "an example on paolo", (kvm_vcpu_reset,), on=PAOLO)
