"""What docs/found.md finds in `paolo` too, mended: nothing wakes a vCPU but what it can take, and
what KVM_GET_MP_STATE has taken is not migrated as pending.

eventdiff judge --variants paolo --variant docs/found/mended.py docs/found
eventdiff export --c --variant docs/found/mended.py --expect mended FILE > reproducer.c
"""

from variants.machine import events, ioctls, run, vmx
from variants.machine.lapic import kvm_cpu_has_interrupt
from variants.machine.ops import kvm_x86_ops
from variants.machine.preemption import preempt
from variants.machine.vcpu import KVM_APIC_SIPI, Mp, Req, Vcpu
from variants.paolo.model import VARIANT as PAOLO
from variants.variant import Variant, replaces


@replaces(events.kvm_vcpu_has_events)
def kvm_vcpu_has_events(vcpu: Vcpu) -> bool:
    """An NMI or SMI that is blocked is no reason, nor is anything but INIT or SIPI in WFS and
    before the first INIT.

    A SIPI outside WFS still is, so that it gets dropped, and `vcpu_block` looks again.
    """
    init_or_sipi = vcpu.pending_events
    if events.kvm_vcpu_latch_init(vcpu):
        init_or_sipi &= KVM_APIC_SIPI
    if init_or_sipi or vcpu.mp_state in (Mp.INIT_RECEIVED, Mp.UNINITIALIZED):
        return bool(init_or_sipi)
    nmi = vcpu.nmi_pending or vcpu.requests & Req.NMI
    smi = vcpu.smi_pending or vcpu.requests & Req.SMI
    return bool(
        (nmi and kvm_x86_ops.nmi_allowed(vcpu, False))
        or (smi and kvm_x86_ops.smi_allowed(vcpu, False))
        or (kvm_x86_ops.interrupt_allowed(vcpu, False) and kvm_cpu_has_interrupt(vcpu))
    )


@replaces(events.kvm_apic_accept_events)
def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    """A SIPI that nobody waits for is dropped."""
    events.kvm_apic_accept_events(vcpu)
    if vcpu.mp_state != Mp.INIT_RECEIVED:
        vcpu.pending_events &= ~KVM_APIC_SIPI


@replaces(run.vcpu_block)
def vcpu_block(vcpu: Vcpu) -> run.Ran:
    """An NMI is processed first, so that it exits out of L2's HLT, and an SMI, which goes before
    it; and a HLT lasts if what ended the wait has been dropped."""
    if vcpu.check_request(Req.SMI):
        events.process_smi(vcpu)
    if vcpu.check_request(Req.NMI):
        events.process_nmi(vcpu)
    if not run.kvm_vcpu_block(vcpu):
        return run.Ran.BLOCKED
    preempt(vcpu, "block-checked")
    events.kvm_apic_accept_events(vcpu)
    if vcpu.mp_state == Mp.HALTED and events.kvm_vcpu_has_events(vcpu):
        vcpu.mp_state = Mp.RUNNABLE
    return run.Ran.AGAIN


@replaces(vmx.vmx_check_nested_events)
def vmx_check_nested_events(vcpu: Vcpu) -> int:
    """Nothing but INIT and SIPI gets through to an L2 in wait-for-SIPI."""
    if vcpu.mp_state == Mp.INIT_RECEIVED and not vcpu.pending_events:
        return 0
    return vmx.vmx_check_nested_events(vcpu)


@replaces(ioctls.kvm_vcpu_ioctl_x86_get_vcpu_events)
def kvm_vcpu_ioctl_x86_get_vcpu_events(vcpu: Vcpu) -> ioctls.VcpuEvents:
    """An INIT that KVM_GET_MP_STATE takes, which is asked next, is not told as pending."""
    events.kvm_apic_accept_events(vcpu)
    return ioctls.kvm_vcpu_ioctl_x86_get_vcpu_events(vcpu)


VARIANT = Variant(
    "mended",
    "paolo, without what docs/found.md finds in it",
    (
        kvm_vcpu_has_events,
        kvm_apic_accept_events,
        vcpu_block,
        vmx_check_nested_events,
        kvm_vcpu_ioctl_x86_get_vcpu_events,
    ),
    on=PAOLO,
)
