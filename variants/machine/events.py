"""Events: what wakes a vCPU, what is injected and when, reset, and SMM.

Source: Linux 5.10 arch/x86/kvm/x86.c and, for RSM, emulate.c.
"""

from variants.machine.lapic import (
    kvm_cpu_get_interrupt,
    kvm_cpu_has_interrupt,
    kvm_lapic_reset,
    preempt,
)
from variants.machine.vcpu import EBUSY, RESET_VECTOR, Mp, Req, SmmSave, Vcpu


def kvm_vcpu_latch_init(vcpu: Vcpu) -> bool:
    """Must INIT be held pending?"""
    return vcpu.smm or vcpu.ops.apic_init_signal_blocked(vcpu)


def kvm_event_needs_reinjection(vcpu: Vcpu) -> bool:
    """Has an event been injected that the guest has not seen yet?"""
    return vcpu.nmi_injected or vcpu.irq_injected >= 0


def kvm_vcpu_has_events(vcpu: Vcpu) -> bool:
    """Is anything pending that ends a wait? Even an event that is then dropped or held."""
    return bool(
        vcpu.pending_events
        or vcpu.requests & (Req.NMI | Req.SMI)
        or (vcpu.nmi_pending and vcpu.ops.nmi_allowed(vcpu, False))
        or (vcpu.smi_pending and vcpu.ops.smi_allowed(vcpu, False))
        or (vcpu.ops.interrupt_allowed(vcpu, False) and kvm_cpu_has_interrupt(vcpu))
    )


def process_smi(vcpu: Vcpu) -> None:
    """KVM_REQ_SMI: an SMI is pending."""
    vcpu.smi_pending = True
    vcpu.request(Req.EVENT)


def process_nmi(vcpu: Vcpu) -> None:
    """KVM_REQ_NMI: at most one NMI running and one pending after it."""
    limit = 1 if vcpu.nmi_mask or vcpu.nmi_injected else 2
    preempt(vcpu, "process-nmi")
    vcpu.nmi_pending = min(limit, vcpu.nmi_pending + vcpu.nmi_queued)
    vcpu.nmi_queued = 0
    vcpu.request(Req.EVENT)


def inject_pending_event(vcpu: Vcpu) -> bool:
    """Inject what can be injected; true if the guest must exit at once for the rest."""
    can_inject = True
    if vcpu.nmi_injected:
        vcpu.ops.set_nmi(vcpu)
        can_inject = False
    elif vcpu.irq_injected >= 0:
        can_inject = False
    if vcpu.guest_mode and vcpu.ops.check_nested_events(vcpu) < 0:
        return True
    preempt(vcpu, "inject-nested-checked")
    if vcpu.smi_pending:
        allowed = vcpu.ops.smi_allowed(vcpu, True) if can_inject else EBUSY
        if allowed < 0:
            return True
        if allowed:
            vcpu.smi_pending = False
            enter_smm(vcpu)
            can_inject = False
    preempt(vcpu, "inject-smi")
    if vcpu.nmi_pending:
        allowed = vcpu.ops.nmi_allowed(vcpu, True) if can_inject else EBUSY
        if allowed < 0:
            return True
        if allowed:
            vcpu.nmi_pending -= 1
            vcpu.nmi_injected = True
            vcpu.ops.set_nmi(vcpu)
            can_inject = False
        if vcpu.nmi_pending:
            vcpu.ops.enable_nmi_window(vcpu)
    if kvm_cpu_has_interrupt(vcpu):
        allowed = vcpu.ops.interrupt_allowed(vcpu, True) if can_inject else EBUSY
        if allowed < 0:
            return True
        if allowed:
            vcpu.irq_injected = kvm_cpu_get_interrupt(vcpu)
        if kvm_cpu_has_interrupt(vcpu):
            vcpu.ops.enable_irq_window(vcpu)
    return False


def kvm_clear_queues(vcpu: Vcpu) -> None:
    """Forget the events queued for reinjection, as a nested VM exit and a reset do."""
    vcpu.nmi_injected = False
    vcpu.irq_injected = -1


def kvm_vcpu_reset(vcpu: Vcpu) -> None:
    """INIT, whatever mode the vCPU is in. KVM_REQ_SMI and KVM_REQ_NMI stay requested.

    The caller sets mp_state. `vmxon` and, on SVM, nested_run_pending are left as they are.
    """
    kvm_lapic_reset(vcpu)
    vcpu.guest_mode = vcpu.smm = vcpu.smm_inside_nmi = False
    vcpu.smi_pending = False
    vcpu.nmi_queued = vcpu.nmi_pending = 0
    kvm_clear_queues(vcpu)
    vcpu.request(Req.EVENT)
    vcpu.rflags_if = vcpu.l1_if = False
    vcpu.frames = vcpu.controls = ()
    vcpu.boot = RESET_VECTOR
    vcpu.nested_exit = None
    vcpu.drop_instruction()
    vcpu.ops.vcpu_reset(vcpu)


def reset_by_init(vcpu: Vcpu) -> None:
    """Take INIT: the BSP restarts, an AP waits for SIPI."""
    kvm_vcpu_reset(vcpu)
    vcpu.mp_state = Mp.RUNNABLE if vcpu.bsp else Mp.INIT_RECEIVED


def start_by_sipi(vcpu: Vcpu) -> None:
    """Take SIPI in wait-for-SIPI: start at the vector received last."""
    preempt(vcpu, "accept-vector")
    vcpu.boot = vcpu.sipi_vector
    vcpu.frames = ()
    vcpu.drop_instruction()
    vcpu.mp_state = Mp.RUNNABLE


def enter_smm(vcpu: Vcpu) -> None:
    """Take an SMI: L2 is left without an exit that L1 would see, NMIs are masked."""
    context = (vcpu.rflags_if, vcpu.frames, vcpu.boot, vcpu.svme, vcpu.guest_mode, vcpu.nmi_mask)
    vcpu.smm_save = SmmSave(*context)
    vcpu.ops.pre_enter_smm(vcpu)
    vcpu.smm = True
    if vcpu.nmi_mask:
        vcpu.smm_inside_nmi = True
    else:
        vcpu.ops.set_nmi_mask(vcpu, True)
    vcpu.rflags_if = False
    vcpu.request(Req.EVENT)
    vcpu.ops.enter_smm_efer(vcpu)
    vcpu.frames = ()
    vcpu.boot = -1
    vcpu.drop_instruction()


def leave_smm(vcpu: Vcpu) -> None:
    """RSM: back to the interrupted context, in L2 if the SMI came there."""
    saved = vcpu.smm_save
    assert saved is not None
    if not vcpu.smm_inside_nmi:
        vcpu.ops.set_nmi_mask(vcpu, False)
    vcpu.smm = vcpu.smm_inside_nmi = False
    vcpu.ops.pre_leave_smm(vcpu, saved)
    vcpu.svme = saved.svme
    vcpu.rflags_if = saved.rflags_if
    vcpu.frames = saved.frames
    vcpu.boot = saved.boot
    vcpu.smm_save = None
    vcpu.request(Req.EVENT)
