"""VMX: VMX operation, VM entry and exit to L1, and the vendor hooks of the common loop.

Source: Linux 5.10 arch/x86/kvm/vmx/vmx.c and vmx/nested.c, with virtual NMIs, without APICv.
"""

from variants.machine.events import kvm_clear_queues, kvm_event_needs_reinjection
from variants.machine.lapic import kvm_cpu_has_interrupt
from variants.machine.ops import X86Ops
from variants.machine.run import kvm_vcpu_halt
from variants.machine.vcpu import EBUSY, Mp, NestedExit, Req, SmmSave, Vcpu


def nested_exit_on(vcpu: Vcpu, event: str) -> bool:
    """Does the vmcs12 make `event` exit? (`nested_exit_on_nmi`, `nested_exit_on_intr`)"""
    return event in vcpu.controls


def nested_events_blocked(vcpu: Vcpu) -> bool:
    """Must a nested VM exit wait for the VM entry or the injection under way?"""
    return vcpu.nested_run_pending or kvm_event_needs_reinjection(vcpu)


def vmx_check_events_below_init(vcpu: Vcpu, blocked: bool) -> int:
    """`vmx_check_nested_events` after INIT and SIPI: SMI, NMI, interrupt."""
    if vcpu.smi_pending and not vcpu.smm:
        return EBUSY if blocked else 0
    if vcpu.nmi_pending and not nmi_blocked(vcpu):
        if blocked:
            return EBUSY
        if nested_exit_on(vcpu, "nmi"):
            nested_vmx_vmexit(vcpu, "EXCEPTION_NMI")
            vcpu.nmi_pending = 0
            vcpu.nmi_mask = True
        return 0
    if kvm_cpu_has_interrupt(vcpu) and not interrupt_blocked(vcpu):
        if blocked:
            return EBUSY
        if nested_exit_on(vcpu, "intr"):
            nested_vmx_vmexit(vcpu, "EXTERNAL_INTERRUPT")
    return 0


def nested_vmx_run(vcpu: Vcpu) -> None:
    """VMLAUNCH or VMRESUME with the step's activity state; L2 starts with IF=0.

    Entering an L2 that will not run (HLT, wait-for-SIPI) ends the nested run at once. An
    activity state the variant does not know fails the entry: exit 33 without entering L2.
    """
    activity = vcpu.step.mode
    if activity not in vcpu.variant.vmx_activities:
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
    elif activity == "wait-for-sipi":
        vcpu.nested_run_pending = False
        vcpu.mp_state = Mp.INIT_RECEIVED


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
    activity = vcpu.variant.vmx_saved_activity(vcpu)
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


def switch_to_vmcs01(vcpu: Vcpu) -> None:
    vcpu.vmcs02_loaded = False
    vcpu.irq_window, vcpu.irq_window_l1 = vcpu.irq_window_l1, False
    vcpu.nmi_window, vcpu.nmi_window_l1 = vcpu.nmi_window_l1, False
    vcpu.nmi_mask, vcpu.nmi_mask_l1 = vcpu.nmi_mask_l1, False


def vmxoff(vcpu: Vcpu) -> None:
    """VMXOFF always raises KVM_REQ_EVENT: a latched INIT may be taken now."""
    vcpu.vmxon = vcpu.smm_vmxon = False
    vcpu.request(Req.EVENT)


def nmi_blocked(vcpu: Vcpu) -> bool:
    if vcpu.guest_mode and nested_exit_on(vcpu, "nmi"):
        return False
    return vcpu.nmi_mask


def interrupt_blocked(vcpu: Vcpu) -> bool:
    if vcpu.guest_mode and nested_exit_on(vcpu, "intr"):
        return False
    return not vcpu.rflags_if


def smi_allowed(vcpu: Vcpu, _for_injection: bool) -> int:
    return EBUSY if vcpu.nested_run_pending else int(not vcpu.smm)


def nmi_allowed(vcpu: Vcpu, for_injection: bool) -> int:
    return EBUSY if must_exit(vcpu, for_injection, "nmi") else int(not nmi_blocked(vcpu))


def interrupt_allowed(vcpu: Vcpu, for_injection: bool) -> int:
    return EBUSY if must_exit(vcpu, for_injection, "intr") else int(not interrupt_blocked(vcpu))


def must_exit(vcpu: Vcpu, for_injection: bool, event: str) -> bool:
    """May `event` not be injected now because a VM entry or a VM exit for it comes first?"""
    intercepted = vcpu.guest_mode and nested_exit_on(vcpu, event)
    return vcpu.nested_run_pending or (for_injection and intercepted)


def set_nmi_mask(vcpu: Vcpu, masked: bool) -> None:
    vcpu.nmi_mask = masked


def nmi_delivered(vcpu: Vcpu) -> None:
    """The processor blocks further NMIs until IRET."""
    vcpu.nmi_mask = True


def enable_nmi_window(vcpu: Vcpu) -> None:
    vcpu.nmi_window = True


def enable_irq_window(vcpu: Vcpu) -> None:
    vcpu.irq_window = True


def window_exit(vcpu: Vcpu) -> bool:
    """Interrupt-window and NMI-window exits, when due."""
    if vcpu.irq_window and vcpu.rflags_if:
        vcpu.irq_window = False
    elif vcpu.nmi_window and not vcpu.nmi_mask:
        vcpu.nmi_window = False
    else:
        return False
    vcpu.request(Req.EVENT)
    return True


def iret(vcpu: Vcpu) -> bool:
    """IRET ends blocking by NMI without an exit."""
    vcpu.nmi_mask = False
    return True


def complete_interrupts(vcpu: Vcpu) -> None:
    """After an exit: the VM entry is done, injected events were seen."""
    vcpu.nested_run_pending = False
    kvm_clear_queues(vcpu)


def cancel_injection(vcpu: Vcpu) -> None:
    if kvm_event_needs_reinjection(vcpu):
        vcpu.request(Req.EVENT)
    if vcpu.nmi_injected:
        vcpu.nmi_mask = False


def pre_enter_smm(vcpu: Vcpu) -> None:
    if vcpu.guest_mode:
        nested_vmx_vmexit(vcpu, "")
    vcpu.smm_vmxon, vcpu.vmxon = vcpu.vmxon, False


def pre_leave_smm(vcpu: Vcpu, saved: SmmSave) -> None:
    """Back into VMX operation, and into L2 if the SMI came there, without a pending run."""
    if vcpu.smm_vmxon:
        vcpu.vmxon, vcpu.smm_vmxon = True, False
    if saved.guest_mode:
        nested_vmx_enter_non_root_mode(vcpu)
        vcpu.nmi_mask = saved.nmi_mask


def vcpu_reset(vcpu: Vcpu) -> None:
    """INIT clears the interruptibility state of the loaded VMCS, not its window controls."""
    vcpu.nmi_mask = False


def execute(vcpu: Vcpu, op: str) -> None:
    match op:
        case "vmxon":
            vcpu.vmxon = True
        case "vmxoff":
            vmxoff(vcpu)
        case "vmlaunch":
            nested_vmx_run(vcpu)
        case "vmcall":
            nested_vmx_vmexit(vcpu, "VMCALL")


def set_nested_state(vcpu: Vcpu, saved: Vcpu) -> bool:
    """EINVAL for VMX operation interrupted by SMM: SMM is restored only after this ioctl.

    L1's NMI blocking and windows are not part of the state. The activity state saved for L2
    must be one that a VM entry accepts.
    """
    if saved.smm_vmxon:
        return False
    vcpu.vmxon = saved.vmxon
    if not saved.guest_mode:
        return True
    if vcpu.variant.vmx_saved_activity(saved) not in vcpu.variant.vmx_activities:
        return False
    vcpu.nested_run_pending = saved.nested_run_pending
    vcpu.controls = saved.controls
    nested_vmx_enter_non_root_mode(vcpu)
    vcpu.nmi_mask = saved.nmi_mask
    return True


def nothing(_vcpu: Vcpu) -> None:
    """A hook of `X86Ops` for which VMX needs to do nothing."""


VMX = X86Ops(
    check_nested_events=lambda vcpu: vcpu.variant.vmx_check_nested_events(vcpu),
    apic_init_signal_blocked=lambda vcpu: vcpu.variant.vmx_apic_init_signal_blocked(vcpu),
    smi_allowed=smi_allowed,
    nmi_allowed=nmi_allowed,
    interrupt_allowed=interrupt_allowed,
    set_nmi_mask=set_nmi_mask,
    set_nmi=nothing,
    nmi_delivered=nmi_delivered,
    enable_nmi_window=enable_nmi_window,
    enable_irq_window=enable_irq_window,
    window_exit=window_exit,
    iret=iret,
    complete_interrupts=complete_interrupts,
    cancel_injection=cancel_injection,
    pre_enter_smm=pre_enter_smm,
    enter_smm_efer=nothing,
    pre_leave_smm=pre_leave_smm,
    vcpu_reset=vcpu_reset,
    shutdown=nothing,
    execute=execute,
    set_nested_state=set_nested_state,
)
