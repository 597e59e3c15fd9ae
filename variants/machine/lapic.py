"""The local APIC: what a message does to its target, and what is deliverable.

Source: Linux 5.10 arch/x86/kvm/lapic.c; `kvm_inject_nmi` is x86.c's.
"""

from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Irq, Req, Vcpu


def apic_accept_irq(vcpu: Vcpu, irq: Irq) -> None:
    """Deliver `irq` to `vcpu` (`__apic_accept_irq`).

    INIT overwrites pending_events, so it also discards a pending SIPI. SIPI is noted whatever
    the target's state, the last vector wins. An INIT level de-assert does nothing at all.
    """
    match irq.mode:
        case "init":
            vcpu.pending_events = KVM_APIC_INIT
            vcpu.request(Req.EVENT)
        case "sipi":
            vcpu.sipi_vector = irq.vector
            vcpu.pending_events |= KVM_APIC_SIPI
            vcpu.request(Req.EVENT)
        case "nmi":
            kvm_inject_nmi(vcpu)
        case "smi":
            vcpu.request(Req.SMI)
        case "fixed":
            if vcpu.apic_enabled:
                vcpu.irr = tuple(sorted({*vcpu.irr, irq.vector}))
                vcpu.request(Req.EVENT)


def kvm_inject_nmi(vcpu: Vcpu) -> None:
    """Queue an NMI. More than two are never kept (`process_nmi`), so count no further."""
    vcpu.nmi_queued = min(2, vcpu.nmi_queued + 1)
    vcpu.request(Req.NMI)


def kvm_cpu_has_interrupt(vcpu: Vcpu) -> bool:
    """Is a fixed interrupt pending above the processor priority? (TPR is 0.)"""
    if not vcpu.irr:
        return False
    ppr_class = vcpu.isr[-1] & 0xF0 if vcpu.isr else 0
    return vcpu.irr[-1] & 0xF0 > ppr_class


def kvm_cpu_get_interrupt(vcpu: Vcpu) -> int:
    """Acknowledge the highest pending vector: it moves from IRR to ISR."""
    vector = vcpu.irr[-1]
    vcpu.irr = vcpu.irr[:-1]
    vcpu.isr = tuple(sorted({*vcpu.isr, vector}))
    return vector


def apic_set_eoi(vcpu: Vcpu) -> None:
    """The guest writes EOI: the highest in-service vector ends."""
    vcpu.isr = vcpu.isr[:-1]
    vcpu.request(Req.EVENT)


def kvm_lapic_reset(vcpu: Vcpu) -> None:
    """INIT resets the registers but not pending_events nor the last start-up vector."""
    vcpu.irr = vcpu.isr = ()
    vcpu.apic_enabled = False
