"""The reply's fix: let check_nested_events see INIT and SIPI first.

Patches: the two posted by Paolo Bonzini on 5 November 2020 for Linux 5.10, which carry the
nested half of Yadong Qi's. A SIPI that arrives outside wait-for-SIPI is never cleared.
"""

from dataclasses import replace

from variants.machine.events import kvm_vcpu_latch_init, reset_by_init, start_by_sipi
from variants.machine.lapic import preempt
from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Vcpu
from variants.original.model import VARIANT as ORIGINAL
from variants.original.model import vmx_saved_activity as original_saved_activity
from variants.yadong.model import vmx_check_nested_events


def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    """Work on a snapshot: the nested check first, then INIT, then SIPI, each cleared alone."""
    pe = vcpu.pending_events
    if not pe:
        return
    preempt(vcpu, "accept-pending")
    if vcpu.guest_mode and vcpu.ops.check_nested_events(vcpu) < 0:
        return
    preempt(vcpu, "accept-nested-checked")
    if kvm_vcpu_latch_init(vcpu):
        vcpu.warn_on(vcpu.mp_state == Mp.INIT_RECEIVED, "kvm_apic_accept_events")
        preempt(vcpu, "accept-latched")
        if pe & KVM_APIC_SIPI:
            vcpu.pending_events &= ~KVM_APIC_SIPI
        return
    preempt(vcpu, "accept-taken")
    if pe & KVM_APIC_INIT:
        vcpu.pending_events &= ~KVM_APIC_INIT
        preempt(vcpu, "accept-init")
        reset_by_init(vcpu)
    preempt(vcpu, "accept-reset")
    if pe & KVM_APIC_SIPI and vcpu.mp_state == Mp.INIT_RECEIVED:
        vcpu.pending_events &= ~KVM_APIC_SIPI
        start_by_sipi(vcpu)


def vmx_apic_init_signal_blocked(vcpu: Vcpu) -> bool:
    """Blocked in VMX root operation only."""
    return vcpu.vmxon and not vcpu.guest_mode


def vmx_saved_activity(vcpu: Vcpu) -> str:
    """An exit from wait-for-SIPI saves that state."""
    return "wait-for-sipi" if vcpu.mp_state == Mp.INIT_RECEIVED else original_saved_activity(vcpu)


VARIANT = replace(
    ORIGINAL,
    name="paolo",
    provenance="Linux 5.10 + the two patches of 5 Nov 2020 (fix to wait-for-SIPI)",
    kvm_apic_accept_events=kvm_apic_accept_events,
    vmx_check_nested_events=vmx_check_nested_events,
    vmx_apic_init_signal_blocked=vmx_apic_init_signal_blocked,
    vmx_activities=("active", "hlt", "wait-for-sipi"),
    vmx_saved_activity=vmx_saved_activity,
)
