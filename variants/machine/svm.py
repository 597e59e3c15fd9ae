"""SVM: GIF, VMRUN and #VMEXIT, and `kvm_x86_ops`.

Source: Linux 5.10 arch/x86/kvm/svm/svm.c and svm/nested.c, `nested=1 vgif=0`, no AVIC.
"""

from typing import Final

from variants.machine.events import kvm_clear_queues, kvm_event_needs_reinjection
from variants.machine.lapic import kvm_cpu_has_interrupt
from variants.machine.observation import NestedExit
from variants.machine.ops import X86Ops
from variants.machine.preemption import preempt
from variants.machine.vcpu import EBUSY, KVM_APIC_INIT, Mp, Req, SmmSave, Vcpu


def gif_set(vcpu: Vcpu) -> bool:
    """The global interrupt flag."""
    return vcpu.gif


def nested_svm_exit_on(vcpu: Vcpu, event: str) -> bool:
    """Does the vmcb12 intercept `event`? (`nested_exit_on_init` and its kin)"""
    return event in vcpu.controls


def svm_set_gif(vcpu: Vcpu, value: bool) -> None:
    """Change GIF. Setting it looks at SMI, NMI and interrupts, not at INIT."""
    vcpu.vintr = False
    vcpu.gif = value
    if value and (vcpu.smi_pending or vcpu.nmi_pending or kvm_cpu_has_interrupt(vcpu)):
        vcpu.request(Req.EVENT)


def svm_apic_init_signal_blocked(vcpu: Vcpu) -> bool:
    """Blocked with GIF=0, and while the VMCB in use intercepts INIT (L1 does in L2's)."""
    return not gif_set(vcpu) or (vcpu.guest_mode and nested_svm_exit_on(vcpu, "init"))


def svm_check_nested_events(vcpu: Vcpu) -> int:
    """INIT exits if intercepted, and stays pending; nothing else is looked at meanwhile."""
    blocked = svm_block_nested_events(vcpu)
    if vcpu.pending_events & KVM_APIC_INIT:
        if blocked:
            return EBUSY
        preempt(vcpu, "nested-init")
        if nested_svm_exit_on(vcpu, "init"):
            nested_svm_vmexit(vcpu, "VMEXIT_INIT")
        return 0
    return svm_check_events_below_init(vcpu, blocked)


def svm_check_events_below_init(vcpu: Vcpu, blocked: bool) -> int:
    """`svm_check_nested_events` after INIT: SMI, NMI, interrupt. None is consumed by the exit."""
    if vcpu.smi_pending and not svm_smi_blocked(vcpu):
        event = "smi"
    elif vcpu.nmi_pending and not svm_nmi_blocked(vcpu):
        event = "nmi"
    elif kvm_cpu_has_interrupt(vcpu) and not svm_interrupt_blocked(vcpu):
        event = "intr"
    else:
        return 0
    if blocked:
        return EBUSY
    if nested_svm_exit_on(vcpu, event):
        nested_svm_vmexit(vcpu, f"VMEXIT_{event.upper()}")
    return 0


def svm_block_nested_events(vcpu: Vcpu) -> bool:
    """Must a nested VM exit wait for the VMRUN or the injection under way?"""
    return vcpu.nested_run_pending or kvm_event_needs_reinjection(vcpu)


def nested_svm_vmrun(vcpu: Vcpu) -> None:
    """VMRUN: enter L2 with IF=0 and GIF=1. It raises KVM_REQ_EVENT by way of RFLAGS."""
    kvm_clear_queues(vcpu)
    vcpu.l1_if = vcpu.rflags_if
    vcpu.nested_run_pending = True
    vcpu.controls = vcpu.step.controls
    enter_svm_guest_mode(vcpu)


def enter_svm_guest_mode(vcpu: Vcpu) -> None:
    """The part of VMRUN that RSM shares."""
    vcpu.rflags_if = False
    vcpu.guest_mode = True
    vcpu.request(Req.EVENT)
    svm_set_gif(vcpu, True)


def nested_svm_vmexit(vcpu: Vcpu, reason: str) -> None:
    """#VMEXIT to L1; reason "" when SMM is entered from L2 and L1 is not told.

    What of L1 was lost is zero, EFER too.
    """
    vcpu.warn_on(vcpu.nested_run_pending, "nested_svm_vmexit")
    vcpu.guest_mode = False
    vcpu.mp_state = Mp.RUNNABLE
    svm_set_gif(vcpu, False)
    if vcpu.l1_lost:
        svm_set_efer(vcpu)
    vcpu.rflags_if = vcpu.l1_if
    vcpu.request(Req.EVENT)
    kvm_clear_queues(vcpu)
    vcpu.frames = ()
    vcpu.boot = -1
    vcpu.drop_instruction()
    if reason:
        vcpu.controls = ()
        vcpu.l1_if = False
        vcpu.nested_exit = NestedExit(reason, 0, "")


def svm_smi_blocked(vcpu: Vcpu) -> bool:
    return not gif_set(vcpu) or vcpu.smm


def svm_nmi_blocked(vcpu: Vcpu) -> bool:
    if not gif_set(vcpu):
        return True
    if vcpu.guest_mode and nested_svm_exit_on(vcpu, "nmi"):
        return False
    return vcpu.nmi_mask


def svm_interrupt_blocked(vcpu: Vcpu) -> bool:
    """Without virtual interrupt masking the current RFLAGS.IF counts, in L2 too."""
    return not gif_set(vcpu) or not vcpu.rflags_if


def svm_smi_allowed(vcpu: Vcpu, for_injection: bool) -> int:
    if svm_must_exit(vcpu, for_injection, "smi"):
        return EBUSY
    return int(not svm_smi_blocked(vcpu))


def svm_nmi_allowed(vcpu: Vcpu, for_injection: bool) -> int:
    if svm_must_exit(vcpu, for_injection, "nmi"):
        return EBUSY
    return int(not svm_nmi_blocked(vcpu))


def svm_interrupt_allowed(vcpu: Vcpu, for_injection: bool) -> int:
    return (
        EBUSY
        if svm_must_exit(vcpu, for_injection, "intr")
        else int(not svm_interrupt_blocked(vcpu))
    )


def svm_must_exit(vcpu: Vcpu, for_injection: bool, event: str) -> bool:
    """May `event` not be injected now because VMRUN or a #VMEXIT for it comes first?"""
    intercepted = vcpu.guest_mode and nested_svm_exit_on(vcpu, event)
    return vcpu.nested_run_pending or (for_injection and intercepted)


def svm_set_nmi_mask(vcpu: Vcpu, masked: bool) -> None:
    vcpu.nmi_mask = vcpu.iret_intercept = masked


def svm_inject_nmi(vcpu: Vcpu) -> None:
    svm_set_nmi_mask(vcpu, True)


def svm_enable_nmi_window(vcpu: Vcpu) -> None:
    """Single-step over what keeps the NMI out, unless IRET or STGI will exit anyway."""
    waits_for_iret = vcpu.nmi_mask and not vcpu.iret_mask
    if not waits_for_iret and gif_set(vcpu):
        vcpu.nmi_singlestep = True


def svm_enable_irq_window(vcpu: Vcpu) -> None:
    vcpu.vintr = vcpu.vintr or gif_set(vcpu)


def svm_window_exit(vcpu: Vcpu) -> bool:
    """The interrupt window (VINTR) or the NMI single-step, when due."""
    if vcpu.nmi_singlestep and vcpu.progressed:
        vcpu.nmi_singlestep = False
    elif vcpu.vintr and vcpu.rflags_if:
        vcpu.vintr = False
    else:
        return False
    vcpu.request(Req.EVENT)
    return True


def svm_iret(vcpu: Vcpu) -> bool:
    """IRET exits the first time while an NMI is being handled, then executes."""
    if not vcpu.iret_intercept:
        return True
    vcpu.iret_intercept = False
    vcpu.iret_mask = True
    vcpu.progressed = False
    vcpu.request(Req.EVENT)
    return False


def svm_complete_interrupts(vcpu: Vcpu) -> None:
    """After an exit: VMRUN is done, injected events were seen, IRET may have unmasked NMIs."""
    if vcpu.guest_mode:
        vcpu.nested_run_pending = False
    unmask_after_iret(vcpu)
    kvm_clear_queues(vcpu)


def svm_cancel_injection(vcpu: Vcpu) -> None:
    if kvm_event_needs_reinjection(vcpu):
        vcpu.request(Req.EVENT)


def unmask_after_iret(vcpu: Vcpu) -> None:
    if vcpu.iret_mask and vcpu.progressed:
        vcpu.nmi_mask = vcpu.iret_mask = False
        vcpu.request(Req.EVENT)


def svm_pre_enter_smm(vcpu: Vcpu) -> None:
    if vcpu.guest_mode:
        nested_svm_vmexit(vcpu, "")


def svm_set_efer(vcpu: Vcpu) -> None:
    """EFER is cleared, and clearing EFER.SVME sets GIF."""
    if vcpu.svme:
        vcpu.svme = False
        svm_set_gif(vcpu, True)


def svm_pre_leave_smm(vcpu: Vcpu, saved: SmmSave) -> None:
    """Back into L2 if the SMI came there; L1's RFLAGS are still in hsave.

    After a migration in SMM, hsave and the intercepts of L1 and L2 are zero. Nothing is checked
    here: it is the VM entry that fails, and what is pending comes first.
    """
    if saved.guest_mode:
        vcpu.l1_lost = saved.hsave_lost
        enter_svm_guest_mode(vcpu)


def svm_vcpu_reset(vcpu: Vcpu) -> None:
    """`init_vmcb`: hflags and EFER.SVME take their reset values, the IRET intercept stays."""
    vcpu.smm = False
    vcpu.nmi_mask = vcpu.iret_mask = vcpu.vintr = False
    vcpu.gif = True
    vcpu.svme = vcpu.l1_lost = False


def shutdown_interception(vcpu: Vcpu) -> None:
    """A triple fault: the VMCB is made anew."""
    svm_vcpu_reset(vcpu)


def svm_fail_entry(vcpu: Vcpu) -> None:
    """VMEXIT_INVALID in L2 is for L1 to see (`nested_svm_exit_handled`)."""
    if vcpu.guest_mode:
        nested_svm_vmexit(vcpu, "VMEXIT_INVALID")
    else:
        vcpu.dead = "error"


def clgi_interception(vcpu: Vcpu) -> None:
    svm_set_gif(vcpu, False)


def stgi_interception(vcpu: Vcpu) -> None:
    svm_set_gif(vcpu, True)


def svm_execute(vcpu: Vcpu, op: str) -> None:
    match op:
        case "clgi":
            clgi_interception(vcpu)
        case "stgi":
            stgi_interception(vcpu)
        case "vmrun":
            nested_svm_vmrun(vcpu)
        case "vmmcall":
            nested_svm_vmexit(vcpu, "VMEXIT_VMMCALL")


def svm_set_nested_state(vcpu: Vcpu, saved: Vcpu) -> bool:
    """In L2 neither GIF nor the pending VMRUN is restored; L1's state comes back in hsave."""
    if saved.guest_mode:
        vcpu.guest_mode = True
        vcpu.controls = saved.controls
        vcpu.l1_if = saved.l1_if
        return True
    if not vcpu.svme and not saved.gif:
        return False
    svm_set_gif(vcpu, saved.gif)
    return True


def svm_nmi_delivered(_vcpu: Vcpu) -> None:
    """KVM masks NMIs itself, when it injects one."""


SVM: Final = X86Ops(
    vendor="svm",
    check_nested_events=svm_check_nested_events,
    apic_init_signal_blocked=svm_apic_init_signal_blocked,
    smi_allowed=svm_smi_allowed,
    nmi_allowed=svm_nmi_allowed,
    interrupt_allowed=svm_interrupt_allowed,
    set_nmi_mask=svm_set_nmi_mask,
    inject_nmi=svm_inject_nmi,
    nmi_delivered=svm_nmi_delivered,
    enable_nmi_window=svm_enable_nmi_window,
    enable_irq_window=svm_enable_irq_window,
    window_exit=svm_window_exit,
    iret=svm_iret,
    complete_interrupts=svm_complete_interrupts,
    cancel_injection=svm_cancel_injection,
    pre_enter_smm=svm_pre_enter_smm,
    set_efer=svm_set_efer,
    pre_leave_smm=svm_pre_leave_smm,
    vcpu_reset=svm_vcpu_reset,
    triple_fault=shutdown_interception,
    fail_entry=svm_fail_entry,
    execute=svm_execute,
    set_nested_state=svm_set_nested_state,
)
