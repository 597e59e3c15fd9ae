"""The reply's fix: let check_nested_events see INIT and SIPI first.

Patches: the two posted by Paolo Bonzini on 5 November 2020 for Linux 5.10, which carry the
nested half of Yadong Qi's. A SIPI that arrives outside wait-for-SIPI is never cleared.
"""

from variants.machine import events, vmx
from variants.machine.ops import kvm_x86_ops
from variants.machine.preemption import preempt
from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Vcpu
from variants.variant import Variant, replaces
from variants.yadong.model import VARIANT as YADONG


@replaces(events.kvm_apic_accept_events)
def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    """Work on a snapshot: the nested check first, then INIT, then SIPI, each cleared alone."""
    pe = vcpu.pending_events
    if not pe:
        return
    preempt(vcpu, "accept-pending")
    if vcpu.guest_mode and kvm_x86_ops.check_nested_events(vcpu) < 0:
        return
    preempt(vcpu, "accept-nested-checked")
    if events.kvm_vcpu_latch_init(vcpu):
        vcpu.warn_on(vcpu.mp_state == Mp.INIT_RECEIVED, "kvm_apic_accept_events")
        preempt(vcpu, "accept-latched")
        if pe & KVM_APIC_SIPI:
            vcpu.pending_events &= ~KVM_APIC_SIPI
        return
    preempt(vcpu, "accept-taken")
    if pe & KVM_APIC_INIT:
        vcpu.pending_events &= ~KVM_APIC_INIT
        preempt(vcpu, "accept-init")
        events.kvm_vcpu_reset(vcpu)
        vcpu.mp_state = Mp.RUNNABLE if vcpu.bsp else Mp.INIT_RECEIVED
    preempt(vcpu, "accept-reset")
    if pe & KVM_APIC_SIPI and vcpu.mp_state == Mp.INIT_RECEIVED:
        vcpu.pending_events &= ~KVM_APIC_SIPI
        preempt(vcpu, "accept-vector")
        events.kvm_vcpu_deliver_sipi_vector(vcpu, vcpu.sipi_vector)
        vcpu.mp_state = Mp.RUNNABLE


@replaces(vmx.vmx_apic_init_signal_blocked)
def vmx_apic_init_signal_blocked(vcpu: Vcpu) -> bool:
    """Blocked in VMX root operation only."""
    return vmx.vmx_apic_init_signal_blocked(vcpu) and not vcpu.guest_mode


@replaces(vmx.sync_vmcs02_to_vmcs12)
def sync_vmcs02_to_vmcs12(vcpu: Vcpu) -> str:
    """An exit from wait-for-SIPI saves that state."""
    if vcpu.mp_state == Mp.INIT_RECEIVED:
        return "wait-for-sipi"
    return vmx.sync_vmcs02_to_vmcs12(vcpu)


VARIANT = Variant(
    "paolo",
    "Linux 5.10 + the two patches of 5 Nov 2020 (fix to wait-for-SIPI)",
    (kvm_apic_accept_events, vmx_apic_init_signal_blocked, sync_vmcs02_to_vmcs12),
    on=YADONG,
)
