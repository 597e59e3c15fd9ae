"""Linux 5.10 as released: the base that both patches change.

Source: Linux 5.10 lapic.c, vmx/vmx.c, vmx/nested.c, svm/svm.c, svm/nested.c.
"""

from variants.machine import svm, vmx
from variants.machine.events import kvm_vcpu_latch_init, reset_by_init, start_by_sipi
from variants.machine.lapic import preempt
from variants.machine.variant import Variant
from variants.machine.vcpu import EBUSY, KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Vcpu


def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    """Blocked: drop SIPI, keep INIT. Else take both at once; SIPI counts only in WFS."""
    if not vcpu.pending_events:
        return
    preempt(vcpu, "accept-pending")
    preempt(vcpu, "accept-nested-checked")
    if kvm_vcpu_latch_init(vcpu):
        vcpu.warn_on(vcpu.mp_state == Mp.INIT_RECEIVED, "kvm_apic_accept_events")
        preempt(vcpu, "accept-latched")
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
    """INIT exits and is consumed. There is no wait-for-SIPI in L2."""
    blocked = vmx.nested_events_blocked(vcpu)
    if vcpu.pending_events & KVM_APIC_INIT:
        if blocked:
            return EBUSY
        preempt(vcpu, "nested-init")
        vcpu.pending_events &= ~KVM_APIC_INIT
        vmx.nested_vmx_vmexit(vcpu, "INIT_SIGNAL")
        return 0
    preempt(vcpu, "nested-init-clear")
    return vmx.vmx_check_events_below_init(vcpu, blocked)


def svm_check_nested_events(vcpu: Vcpu) -> int:
    """INIT exits if intercepted, and stays pending; nothing else is looked at meanwhile."""
    blocked = svm.nested_events_blocked(vcpu)
    if vcpu.pending_events & KVM_APIC_INIT:
        if blocked:
            return EBUSY
        preempt(vcpu, "nested-init")
        if svm.nested_exit_on(vcpu, "init"):
            svm.nested_svm_vmexit(vcpu, "VMEXIT_INIT")
        return 0
    return svm.svm_check_events_below_init(vcpu, blocked)


def vmx_apic_init_signal_blocked(vcpu: Vcpu) -> bool:
    """Blocked in VMX operation, root or not."""
    return vcpu.vmxon


def svm_apic_init_signal_blocked(vcpu: Vcpu) -> bool:
    """Blocked with GIF=0, and while the VMCB in use intercepts INIT (L1 does in L2's)."""
    return not svm.gif_set(vcpu) or (vcpu.guest_mode and svm.nested_exit_on(vcpu, "init"))


def vmx_saved_activity(vcpu: Vcpu) -> str:
    """Halted or active."""
    return "hlt" if vcpu.mp_state == Mp.HALTED else "active"


VARIANT = Variant(
    name="original",
    provenance="Linux 5.10, unpatched",
    kvm_apic_accept_events=kvm_apic_accept_events,
    vmx_check_nested_events=vmx_check_nested_events,
    svm_check_nested_events=svm_check_nested_events,
    vmx_apic_init_signal_blocked=vmx_apic_init_signal_blocked,
    svm_apic_init_signal_blocked=svm_apic_init_signal_blocked,
    vmx_activities=("active", "hlt"),
    vmx_saved_activity=vmx_saved_activity,
)
