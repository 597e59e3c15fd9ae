"""Events: INIT and SIPI, what wakes a vCPU, what is injected and when, reset.

Source: Linux 5.10 arch/x86/kvm/x86.c; `kvm_apic_accept_events` is lapic.c's.
"""

from variants.machine.lapic import kvm_cpu_get_interrupt, kvm_cpu_has_interrupt, kvm_lapic_reset
from variants.machine.ops import kvm_x86_ops
from variants.machine.preemption import preempt
from variants.machine.smm import enter_smm
from variants.machine.vcpu import (
    EBUSY,
    KVM_APIC_INIT,
    KVM_APIC_SIPI,
    RESET_VECTOR,
    Mp,
    Req,
    Vcpu,
)


def kvm_vcpu_latch_init(vcpu: Vcpu) -> bool:
    """Must INIT be held pending?"""
    return vcpu.smm or kvm_x86_ops.apic_init_signal_blocked(vcpu)


def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    """Decide what becomes of pending INIT and SIPI.

    Blocked: drop SIPI, keep INIT. Else take both at once: INIT resets, the BSP then runs and an AP
    waits for SIPI; SIPI counts only in wait-for-SIPI.
    """
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
        kvm_vcpu_reset(vcpu)
        vcpu.mp_state = Mp.RUNNABLE if vcpu.bsp else Mp.INIT_RECEIVED
    preempt(vcpu, "accept-reset")
    if pe & KVM_APIC_SIPI and vcpu.mp_state == Mp.INIT_RECEIVED:
        preempt(vcpu, "accept-vector")
        kvm_vcpu_deliver_sipi_vector(vcpu, vcpu.sipi_vector)
        vcpu.mp_state = Mp.RUNNABLE


def kvm_event_needs_reinjection(vcpu: Vcpu) -> bool:
    """Has an event been injected that the guest has not seen yet?"""
    return vcpu.nmi_injected or vcpu.irq_injected >= 0


def kvm_vcpu_has_events(vcpu: Vcpu) -> bool:
    """Is anything pending that ends a wait? Even an event that is then dropped or held."""
    return bool(
        vcpu.pending_events
        or vcpu.requests & (Req.NMI | Req.SMI)
        or (vcpu.nmi_pending and kvm_x86_ops.nmi_allowed(vcpu, False))
        or (vcpu.smi_pending and kvm_x86_ops.smi_allowed(vcpu, False))
        or (kvm_x86_ops.interrupt_allowed(vcpu, False) and kvm_cpu_has_interrupt(vcpu))
    )


def kvm_vcpu_halt(vcpu: Vcpu) -> None:
    """HLT: halt without a look at what is pending; vcpu_block looks."""
    vcpu.mp_state = Mp.HALTED
    vcpu.in_hlt = True


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
        kvm_x86_ops.inject_nmi(vcpu)
        can_inject = False
    elif vcpu.irq_injected >= 0:
        can_inject = False
    if vcpu.guest_mode and kvm_x86_ops.check_nested_events(vcpu) < 0:
        return True
    preempt(vcpu, "inject-nested-checked")
    if vcpu.smi_pending:
        allowed = kvm_x86_ops.smi_allowed(vcpu, True) if can_inject else EBUSY
        if allowed < 0:
            return True
        if allowed:
            vcpu.smi_pending = False
            enter_smm(vcpu)
            can_inject = False
    preempt(vcpu, "inject-smi")
    if vcpu.nmi_pending:
        allowed = kvm_x86_ops.nmi_allowed(vcpu, True) if can_inject else EBUSY
        if allowed < 0:
            return True
        if allowed:
            vcpu.nmi_pending -= 1
            vcpu.nmi_injected = True
            kvm_x86_ops.inject_nmi(vcpu)
            can_inject = False
        if vcpu.nmi_pending:
            kvm_x86_ops.enable_nmi_window(vcpu)
    if kvm_cpu_has_interrupt(vcpu):
        allowed = kvm_x86_ops.interrupt_allowed(vcpu, True) if can_inject else EBUSY
        if allowed < 0:
            return True
        if allowed:
            vcpu.irq_injected = kvm_cpu_get_interrupt(vcpu)
        if kvm_cpu_has_interrupt(vcpu):
            kvm_x86_ops.enable_irq_window(vcpu)
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
    kvm_x86_ops.vcpu_reset(vcpu)


def kvm_vcpu_deliver_sipi_vector(vcpu: Vcpu, vector: int) -> None:
    """The vCPU's next instruction is that of the start-up vector."""
    vcpu.boot = vector
    vcpu.frames = ()
    vcpu.drop_instruction()
