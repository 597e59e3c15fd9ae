"""VMX: VMX operation, VM entry and exit to L1, and `kvm_x86_ops`.

Source: Linux 5.10 arch/x86/kvm/vmx/vmx.c and vmx/nested.c, with virtual NMIs, without APICv.
"""

from typing import Final

from variants.machine.events import (
    kvm_clear_queues,
    kvm_event_needs_reinjection,
    kvm_vcpu_halt,
)
from variants.machine.lapic import kvm_cpu_has_interrupt
from variants.machine.observation import NestedExit
from variants.machine.ops import X86Ops
from variants.machine.preemption import preempt
from variants.machine.vcpu import EBUSY, EINVAL, KVM_APIC_INIT, Mp, Req, SmmSave, Vcpu

VMX_MISC_ACTIVITY_HLT: Final = 1 << 6
VMX_MISC_ACTIVITY_WAIT_SIPI: Final = 1 << 8
"""Bits of IA32_VMX_MISC: activity states that a VM entry accepts. SDM vol. 3, A.6."""


def nested_vmx_exit_on(vcpu: Vcpu, event: str) -> bool:
    """Does the vmcs12 make `event` exit? (`nested_exit_on_nmi`, `nested_exit_on_intr`)"""
    return event in vcpu.controls


def vmx_block_nested_events(vcpu: Vcpu) -> bool:
    """Must a nested VM exit wait for the VM entry or the injection under way?"""
    return vcpu.nested_run_pending or kvm_event_needs_reinjection(vcpu)


def vmx_apic_init_signal_blocked(vcpu: Vcpu) -> bool:
    """Blocked in VMX operation, root or not."""
    return vcpu.vmxon


def vmx_check_nested_events(vcpu: Vcpu) -> int:
    """INIT exits and is consumed. There is no wait-for-SIPI in L2."""
    blocked = vmx_block_nested_events(vcpu)
    if vcpu.pending_events & KVM_APIC_INIT:
        if blocked:
            return EBUSY
        preempt(vcpu, "nested-init")
        vcpu.pending_events &= ~KVM_APIC_INIT
        nested_vmx_vmexit(vcpu, "INIT_SIGNAL")
        return 0
    preempt(vcpu, "nested-init-clear")
    return vmx_check_events_below_init(vcpu, blocked)


def vmx_check_events_below_init(vcpu: Vcpu, blocked: bool) -> int:
    """`vmx_check_nested_events` after INIT and SIPI: SMI, NMI, interrupt."""
    if vcpu.smi_pending and not vcpu.smm:
        return EBUSY if blocked else 0
    if vcpu.nmi_pending and not vmx_nmi_blocked(vcpu):
        if blocked:
            return EBUSY
        if nested_vmx_exit_on(vcpu, "nmi"):
            nested_vmx_vmexit(vcpu, "EXCEPTION_NMI")
            vcpu.nmi_pending = 0
            vcpu.nmi_mask = True
        return 0
    if kvm_cpu_has_interrupt(vcpu) and not vmx_interrupt_blocked(vcpu):
        if blocked:
            return EBUSY
        if nested_vmx_exit_on(vcpu, "intr"):
            nested_vmx_vmexit(vcpu, "EXTERNAL_INTERRUPT")
    return 0


def nested_vmx_setup_ctls_msrs() -> int:
    """The activity states that IA32_VMX_MISC advertises, by their bits there."""
    return VMX_MISC_ACTIVITY_HLT


def nested_check_guest_non_reg_state(activity: str) -> int:
    """0 if a VM entry accepts the activity state, else -EINVAL."""
    return 0 if activity in ("active", "hlt") else EINVAL


def nested_vmx_run(vcpu: Vcpu) -> None:
    """VMLAUNCH or VMRESUME with the step's activity state; L2 starts with IF=0.

    Entering an L2 that will not run (HLT) ends the nested run at once. An activity state that is
    not accepted fails the entry: exit 33 without entering L2.
    """
    activity = vcpu.step.mode
    if nested_check_guest_non_reg_state(activity):
        vcpu.nested_exit = NestedExit("INVALID_STATE", 0, activity)
        vcpu.rflags_if = False
        return
    vcpu.nested_run_pending = True
    vcpu.controls = vcpu.step.controls
    nested_vmx_enter_non_root_mode(vcpu)
    vcpu.rflags_if = False
    vcpu.nmi_mask = False
    if activity == "hlt":
        vcpu.nested_run_pending = False
        kvm_vcpu_halt(vcpu)


def nested_vmx_enter_non_root_mode(vcpu: Vcpu) -> None:
    """Load vmcs02. Only an open interrupt or NMI window of vmcs01 raises KVM_REQ_EVENT."""
    if vcpu.irq_window or vcpu.nmi_window:
        vcpu.request(Req.EVENT)
    vcpu.irq_window_l1 = vcpu.irq_window
    vcpu.nmi_window_l1 = vcpu.nmi_window
    vcpu.nmi_mask_l1 = vcpu.nmi_mask
    vcpu.irq_window = vcpu.nmi_window = False
    vcpu.vmcs02_loaded = True
    vcpu.guest_mode = True


def nested_vmx_vmexit(vcpu: Vcpu, reason: str, qualification: int = 0) -> None:
    """VM exit to L1; reason "" when SMM is entered from L2. It does not raise KVM_REQ_EVENT."""
    vcpu.warn_on(vcpu.nested_run_pending, "nested_vmx_vmexit")
    activity = sync_vmcs02_to_vmcs12(vcpu)
    vcpu.guest_mode = False
    kvm_clear_queues(vcpu)
    switch_to_vmcs01(vcpu)
    vcpu.mp_state = Mp.RUNNABLE
    vcpu.rflags_if = False
    vcpu.frames = ()
    vcpu.boot = -1
    vcpu.drop_instruction()
    if reason:
        vcpu.controls = ()
        vcpu.nested_exit = NestedExit(reason, qualification, activity)


def sync_vmcs02_to_vmcs12(vcpu: Vcpu) -> str:
    """The activity state that is saved for L2: halted or active."""
    return "hlt" if vcpu.mp_state == Mp.HALTED else "active"


def switch_to_vmcs01(vcpu: Vcpu) -> None:
    vcpu.vmcs02_loaded = False
    vcpu.irq_window, vcpu.irq_window_l1 = vcpu.irq_window_l1, False
    vcpu.nmi_window, vcpu.nmi_window_l1 = vcpu.nmi_window_l1, False
    vcpu.nmi_mask, vcpu.nmi_mask_l1 = vcpu.nmi_mask_l1, False


def handle_vmon(vcpu: Vcpu) -> None:
    """VMXON."""
    vcpu.vmxon = True


def handle_vmoff(vcpu: Vcpu) -> None:
    """VMXOFF always raises KVM_REQ_EVENT: a latched INIT may be taken now."""
    vcpu.vmxon = vcpu.smm_vmxon = False
    vcpu.request(Req.EVENT)


def vmx_nmi_blocked(vcpu: Vcpu) -> bool:
    if vcpu.guest_mode and nested_vmx_exit_on(vcpu, "nmi"):
        return False
    return vcpu.nmi_mask


def vmx_interrupt_blocked(vcpu: Vcpu) -> bool:
    if vcpu.guest_mode and nested_vmx_exit_on(vcpu, "intr"):
        return False
    return not vcpu.rflags_if


def vmx_smi_allowed(vcpu: Vcpu, _for_injection: bool) -> int:
    return EBUSY if vcpu.nested_run_pending else int(not vcpu.smm)


def vmx_nmi_allowed(vcpu: Vcpu, for_injection: bool) -> int:
    if vmx_must_exit(vcpu, for_injection, "nmi"):
        return EBUSY
    return int(not vmx_nmi_blocked(vcpu))


def vmx_interrupt_allowed(vcpu: Vcpu, for_injection: bool) -> int:
    return (
        EBUSY
        if vmx_must_exit(vcpu, for_injection, "intr")
        else int(not vmx_interrupt_blocked(vcpu))
    )


def vmx_must_exit(vcpu: Vcpu, for_injection: bool, event: str) -> bool:
    """May `event` not be injected now because a VM entry or a VM exit for it comes first?"""
    intercepted = vcpu.guest_mode and nested_vmx_exit_on(vcpu, event)
    return vcpu.nested_run_pending or (for_injection and intercepted)


def vmx_set_nmi_mask(vcpu: Vcpu, masked: bool) -> None:
    vcpu.nmi_mask = masked


def vmx_nmi_delivered(vcpu: Vcpu) -> None:
    """The processor blocks further NMIs until IRET."""
    vcpu.nmi_mask = True


def vmx_inject_nmi(_vcpu: Vcpu) -> None:
    """The processor does the rest."""


def vmx_set_efer(_vcpu: Vcpu) -> None:
    """Nothing here depends on EFER."""


def handle_triple_fault(_vcpu: Vcpu) -> None:
    """The VMCS stays as it is."""


def vmx_fail_entry(vcpu: Vcpu) -> None:
    """Only L1's entries fail here (`run_guest`)."""
    vcpu.dead = "error"


def vmx_enable_nmi_window(vcpu: Vcpu) -> None:
    vcpu.nmi_window = True


def vmx_enable_irq_window(vcpu: Vcpu) -> None:
    vcpu.irq_window = True


def vmx_window_exit(vcpu: Vcpu) -> bool:
    """Interrupt-window and NMI-window exits, when due."""
    if vcpu.irq_window and vcpu.rflags_if:
        vcpu.irq_window = False
    elif vcpu.nmi_window and not vcpu.nmi_mask:
        vcpu.nmi_window = False
    else:
        return False
    vcpu.request(Req.EVENT)
    return True


def vmx_iret(vcpu: Vcpu) -> bool:
    """IRET ends blocking by NMI without an exit."""
    vcpu.nmi_mask = False
    return True


def vmx_complete_interrupts(vcpu: Vcpu) -> None:
    """After an exit: the VM entry is done, injected events were seen."""
    vcpu.nested_run_pending = False
    kvm_clear_queues(vcpu)


def vmx_cancel_injection(vcpu: Vcpu) -> None:
    if kvm_event_needs_reinjection(vcpu):
        vcpu.request(Req.EVENT)
    if vcpu.nmi_injected:
        vcpu.nmi_mask = False


def vmx_pre_enter_smm(vcpu: Vcpu) -> None:
    if vcpu.guest_mode:
        nested_vmx_vmexit(vcpu, "")
    vcpu.smm_vmxon, vcpu.vmxon = vcpu.vmxon, False


def vmx_pre_leave_smm(vcpu: Vcpu, saved: SmmSave) -> None:
    """Back into VMX operation, and into L2 if the SMI came there, without a pending run.

    Only then does RSM load CR4; one that is not valid is an internal error to the host
    (`rsm_enter_protected_mode`, `handle_emulation_failure`).
    """
    if vcpu.smm_vmxon:
        vcpu.vmxon, vcpu.smm_vmxon = True, False
    if saved.guest_mode:
        nested_vmx_enter_non_root_mode(vcpu)
        vcpu.nmi_mask = saved.nmi_mask
    if not vmx_is_valid_cr4(vcpu, saved):
        vcpu.dead = "error"


def vmx_is_valid_cr4(vcpu: Vcpu, saved: SmmSave) -> bool:
    """In VMX operation CR4.VMXE must be 1: is it so in the CR4 that SMM saved?

    `vmx_vcpu_reset` makes CR4 0, even in VMX operation, and start code then sets it. Start code
    that L1 has yet to run there follows a reset: INIT and SIPI are held in VMX root operation.
    """
    return not vcpu.vmxon or saved.guest_mode or saved.boot < 0


def vmx_vcpu_reset(vcpu: Vcpu) -> None:
    """INIT clears the interruptibility state of the loaded VMCS, not its window controls."""
    vcpu.nmi_mask = False


def vmx_execute(vcpu: Vcpu, op: str) -> None:
    match op:
        case "vmxon":
            handle_vmon(vcpu)
        case "vmxoff":
            handle_vmoff(vcpu)
        case "vmlaunch":
            nested_vmx_run(vcpu)
        case "vmcall":
            nested_vmx_vmexit(vcpu, "VMCALL")
        case "rdmsr":
            vcpu.taken.append(
                f"rdmsr:{nested_vmx_setup_ctls_msrs() & VMX_MISC_ACTIVITY_WAIT_SIPI:#x}"
            )


def vmx_set_nested_state(vcpu: Vcpu, saved: Vcpu) -> bool:
    """EINVAL for VMX operation interrupted by SMM: SMM is restored only after this ioctl.

    L1's NMI blocking and windows are not part of the state. The activity state saved for L2
    must be one that a VM entry accepts.
    """
    if saved.smm_vmxon:
        return False
    vcpu.vmxon = saved.vmxon
    if not saved.guest_mode:
        return True
    if nested_check_guest_non_reg_state(sync_vmcs02_to_vmcs12(saved)):
        return False
    vcpu.nested_run_pending = saved.nested_run_pending
    vcpu.controls = saved.controls
    nested_vmx_enter_non_root_mode(vcpu)
    vcpu.nmi_mask = saved.nmi_mask
    return True


VMX: Final = X86Ops(
    vendor="vmx",
    check_nested_events=vmx_check_nested_events,
    apic_init_signal_blocked=vmx_apic_init_signal_blocked,
    smi_allowed=vmx_smi_allowed,
    nmi_allowed=vmx_nmi_allowed,
    interrupt_allowed=vmx_interrupt_allowed,
    set_nmi_mask=vmx_set_nmi_mask,
    inject_nmi=vmx_inject_nmi,
    nmi_delivered=vmx_nmi_delivered,
    enable_nmi_window=vmx_enable_nmi_window,
    enable_irq_window=vmx_enable_irq_window,
    window_exit=vmx_window_exit,
    iret=vmx_iret,
    complete_interrupts=vmx_complete_interrupts,
    cancel_injection=vmx_cancel_injection,
    pre_enter_smm=vmx_pre_enter_smm,
    set_efer=vmx_set_efer,
    pre_leave_smm=vmx_pre_leave_smm,
    vcpu_reset=vmx_vcpu_reset,
    triple_fault=handle_triple_fault,
    fail_entry=vmx_fail_entry,
    execute=vmx_execute,
    set_nested_state=vmx_set_nested_state,
)
