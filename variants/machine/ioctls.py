"""The vCPU ioctls of a schedule, side effects included. Source: Linux 5.10 x86.c.

KVM_GET_MP_STATE processes pending INIT and SIPI. KVM_GET_VCPU_EVENTS processes NMIs and SMIs
and so raises KVM_REQ_EVENT. KVM_SET_MP_STATE takes any state outside SMM and blocked INIT.
"""

from variants.machine.events import kvm_vcpu_latch_init, process_nmi, process_smi
from variants.machine.vcpu import KVM_APIC_INIT, KVM_APIC_SIPI, Mp, Req, Vcpu, thaw


def get_mp_state(vcpu: Vcpu) -> Mp:
    """KVM_GET_MP_STATE."""
    vcpu.variant.kvm_apic_accept_events(vcpu)
    return vcpu.mp_state


def set_mp_state(vcpu: Vcpu, state: Mp) -> bool:
    """KVM_SET_MP_STATE; false for EINVAL.

    SIPI_RECEIVED becomes INIT_RECEIVED with a SIPI pending, at the vector received last.
    """
    waits = state in (Mp.SIPI_RECEIVED, Mp.INIT_RECEIVED)
    if waits and (kvm_vcpu_latch_init(vcpu) or vcpu.smi_pending):
        return False
    if state == Mp.SIPI_RECEIVED:
        vcpu.mp_state = Mp.INIT_RECEIVED
        vcpu.pending_events |= KVM_APIC_SIPI
    else:
        vcpu.mp_state = state
    vcpu.request(Req.EVENT)
    return True


def get_vcpu_events(vcpu: Vcpu) -> bool:
    """KVM_GET_VCPU_EVENTS; returns `smi.latched_init`."""
    process_nmi(vcpu)
    if vcpu.check_request(Req.SMI):
        process_smi(vcpu)
    return bool(vcpu.pending_events & KVM_APIC_INIT)


def save_restore(vcpu: Vcpu) -> Vcpu:
    """Live migration, in QEMU's order of ioctls; returns the vCPU created anew.

    Saving reads the events, then mp_state (which processes INIT and SIPI), then the registers,
    the local APIC and the nested state. Restoring writes registers, nested state, local APIC,
    events, mp_state. Lost on the way: a pending SIPI and its vector, the requests, a second
    pending NMI, window exits. An ioctl that fails ends the migration: the vCPU is dead.
    """
    latched_init = get_vcpu_events(vcpu)
    events = thaw(vcpu.freeze())
    mp_state = get_mp_state(vcpu)

    new = Vcpu(vcpu.bsp, mp_state=Mp.UNINITIALIZED, requests=Req.EVENT)
    new.variant, new.ops = vcpu.variant, vcpu.ops
    new.warn, new.arrivals, new.nested_exit = vcpu.warn, vcpu.arrivals, vcpu.nested_exit
    new.passed = vcpu.passed
    new.svme = vcpu.svme
    restored = new.ops.set_nested_state(new, vcpu)
    for guest_owned in ("rflags_if", "frames", "boot", "in_hlt", "smm_save"):
        setattr(new, guest_owned, getattr(vcpu, guest_owned))
    if new.smm_save and new.smm_save.guest_mode:
        new.smm_save = new.smm_save._replace(hsave_lost=True)
    new.irr, new.isr, new.apic_enabled = vcpu.irr, vcpu.isr, vcpu.apic_enabled
    new.irq_injected, new.nmi_injected = events.irq_injected, events.nmi_injected
    new.nmi_pending = min(1, events.nmi_pending)
    new.ops.set_nmi_mask(new, events.nmi_mask)
    new.smm, new.smm_inside_nmi = events.smm, events.smm_inside_nmi
    new.smi_pending = events.smi_pending
    new.pending_events = KVM_APIC_INIT if latched_init else 0
    restored = restored and set_mp_state(new, mp_state)
    new.dead = vcpu.dead or ("" if restored else "error")
    return new
