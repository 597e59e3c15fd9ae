"""Wait-for-SIPI and SIPI exits for nested VMX.

Patch: "KVM: x86: emulate wait-for-SIPI and SIPI-VMExit", Yadong Qi, 22 September 2020, on
Linux 5.10. The SIPI part of `kvm_apic_accept_events` is common code and so changes SVM too.
"""

from dataclasses import replace

from variants.machine import vmx
from variants.machine.events import kvm_vcpu_latch_init, reset_by_init, start_by_sipi
from variants.machine.lapic import preempt
from variants.machine.vcpu import EBUSY, KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Vcpu
from variants.original.model import VARIANT as ORIGINAL


def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    """As the original, but a blocked SIPI is kept in guest mode, whatever the vendor."""
    if not vcpu.pending_events:
        return
    preempt(vcpu, "accept-pending")
    preempt(vcpu, "accept-nested-checked")
    if kvm_vcpu_latch_init(vcpu):
        vcpu.warn_on(vcpu.mp_state == Mp.INIT_RECEIVED, "kvm_apic_accept_events")
        preempt(vcpu, "accept-latched")
        if not vcpu.guest_mode:
            vcpu.pending_events &= ~KVM_APIC_SIPI
        return
    preempt(vcpu, "accept-taken")
    pe, vcpu.pending_events = vcpu.pending_events, 0
    if pe & KVM_APIC_INIT:
        preempt(vcpu, "accept-init")
        reset_by_init(vcpu)
    preempt(vcpu, "accept-reset")
    if pe & KVM_APIC_SIPI and vcpu.mp_state == Mp.INIT_RECEIVED:
        start_by_sipi(vcpu)


def vmx_check_nested_events(vcpu: Vcpu) -> int:
    """INIT is consumed and exits unless in WFS; then SIPI is consumed and exits in WFS."""
    blocked = vmx.nested_events_blocked(vcpu)
    if vcpu.pending_events & KVM_APIC_INIT:
        if blocked:
            return EBUSY
        preempt(vcpu, "nested-init")
        vcpu.pending_events &= ~KVM_APIC_INIT
        if vcpu.mp_state != Mp.INIT_RECEIVED:
            vmx.nested_vmx_vmexit(vcpu, "INIT_SIGNAL")
        return 0
    preempt(vcpu, "nested-init-clear")
    if vcpu.pending_events & KVM_APIC_SIPI:
        if blocked:
            return EBUSY
        preempt(vcpu, "nested-sipi")
        vcpu.pending_events &= ~KVM_APIC_SIPI
        if vcpu.mp_state == Mp.INIT_RECEIVED:
            preempt(vcpu, "nested-vector")
            vmx.nested_vmx_vmexit(vcpu, "SIPI_SIGNAL", vcpu.sipi_vector)
        return 0
    return vmx.vmx_check_events_below_init(vcpu, blocked)


VARIANT = replace(
    ORIGINAL,
    name="yadong",
    provenance="Linux 5.10 + the patch of 22 Sep 2020 (wait-for-SIPI and SIPI-VMExit)",
    kvm_apic_accept_events=kvm_apic_accept_events,
    vmx_check_nested_events=vmx_check_nested_events,
    vmx_activities=("active", "hlt", "wait-for-sipi"),
)
