"""Wait-for-SIPI and SIPI exits for nested VMX.

Patch: "KVM: x86: emulate wait-for-SIPI and SIPI-VMExit", Yadong Qi, 22 September 2020, on
Linux 5.10. The SIPI part of `kvm_apic_accept_events` is common code and so changes SVM too.
"""

from variants.machine import events, vmx
from variants.machine.preemption import preempt
from variants.machine.vcpu import EBUSY, KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Vcpu
from variants.variant import Variant, replaces


@replaces(events.kvm_apic_accept_events)
def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    """As the original, but a blocked SIPI is kept in guest mode, whatever the vendor."""
    if not vcpu.pending_events:
        return
    preempt(vcpu, "accept-pending")
    preempt(vcpu, "accept-nested-checked")
    if events.kvm_vcpu_latch_init(vcpu):
        vcpu.warn_on(vcpu.mp_state == Mp.INIT_RECEIVED, "kvm_apic_accept_events")
        preempt(vcpu, "accept-latched")
        if not vcpu.guest_mode:
            vcpu.pending_events &= ~KVM_APIC_SIPI
        return
    preempt(vcpu, "accept-taken")
    pe, vcpu.pending_events = vcpu.pending_events, 0
    if pe & KVM_APIC_INIT:
        preempt(vcpu, "accept-init")
        events.kvm_vcpu_reset(vcpu)
        vcpu.mp_state = Mp.RUNNABLE if vcpu.bsp else Mp.INIT_RECEIVED
    preempt(vcpu, "accept-reset")
    if pe & KVM_APIC_SIPI and vcpu.mp_state == Mp.INIT_RECEIVED:
        preempt(vcpu, "accept-vector")
        events.kvm_vcpu_deliver_sipi_vector(vcpu, vcpu.sipi_vector)
        vcpu.mp_state = Mp.RUNNABLE


@replaces(vmx.nested_vmx_setup_ctls_msrs)
def nested_vmx_setup_ctls_msrs() -> int:
    """Wait-for-SIPI is advertised too."""
    return vmx.nested_vmx_setup_ctls_msrs() | vmx.VMX_MISC_ACTIVITY_WAIT_SIPI


@replaces(vmx.nested_check_guest_non_reg_state)
def nested_check_guest_non_reg_state(activity: str) -> int:
    """Wait-for-SIPI is accepted too."""
    return 0 if activity == "wait-for-sipi" else vmx.nested_check_guest_non_reg_state(activity)


@replaces(vmx.nested_vmx_run)
def nested_vmx_run(vcpu: Vcpu) -> None:
    """An L2 entered in wait-for-SIPI does not run: the vCPU waits."""
    vmx.nested_vmx_run(vcpu)
    if vcpu.guest_mode and vcpu.step.mode == "wait-for-sipi":
        vcpu.nested_run_pending = False
        vcpu.mp_state = Mp.INIT_RECEIVED


@replaces(vmx.vmx_check_nested_events)
def vmx_check_nested_events(vcpu: Vcpu) -> int:
    """INIT is consumed and exits unless in WFS; then SIPI is consumed and exits in WFS."""
    blocked = vmx.vmx_block_nested_events(vcpu)
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


VARIANT = Variant(
    "yadong",
    "Linux 5.10 + the patch of 22 Sep 2020 (wait-for-SIPI and SIPI-VMExit)",
    (
        kvm_apic_accept_events,
        nested_vmx_setup_ctls_msrs,
        nested_check_guest_non_reg_state,
        nested_vmx_run,
        vmx_check_nested_events,
    ),
)
