"""The vCPU ioctls of a schedule, side effects included. Source: Linux 5.10 x86.c.

KVM_GET_MP_STATE processes pending INIT and SIPI. KVM_GET_VCPU_EVENTS processes NMIs and SMIs
and so raises KVM_REQ_EVENT. KVM_SET_MP_STATE takes any state outside SMM and blocked INIT.
"""

from typing import Final, NamedTuple

from variants.machine.events import (
    kvm_apic_accept_events,
    kvm_vcpu_latch_init,
    process_nmi,
    process_smi,
)
from variants.machine.ops import kvm_x86_ops
from variants.machine.vcpu import (
    KVM_APIC_INIT,
    KVM_APIC_SIPI,
    OF_THIS_STEP,
    Mp,
    Req,
    Vcpu,
)

REGISTERS: Final = ("rflags_if", "frames", "boot", "in_hlt", "smm_save")
LAPIC: Final = ("irr", "isr", "apic_enabled")
"""What a migration carries over as it is: what the guest owns, and its local APIC."""


class VcpuEvents(NamedTuple):
    """`struct kvm_vcpu_events`, as far as it concerns this code."""

    irq_injected: int
    nmi_injected: bool
    nmi_pending: int
    nmi_mask: bool
    smm: bool
    smm_inside_nmi: bool
    smi_pending: bool
    latched_init: bool


def kvm_arch_vcpu_ioctl_get_mpstate(vcpu: Vcpu) -> Mp:
    """KVM_GET_MP_STATE."""
    kvm_apic_accept_events(vcpu)
    return vcpu.mp_state


def kvm_arch_vcpu_ioctl_set_mpstate(vcpu: Vcpu, state: Mp) -> bool:
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


def kvm_vcpu_ioctl_x86_get_vcpu_events(vcpu: Vcpu) -> VcpuEvents:
    """KVM_GET_VCPU_EVENTS."""
    process_nmi(vcpu)
    if vcpu.check_request(Req.SMI):
        process_smi(vcpu)
    return VcpuEvents(
        vcpu.irq_injected,
        vcpu.nmi_injected,
        vcpu.nmi_pending,
        vcpu.nmi_mask,
        vcpu.smm,
        vcpu.smm_inside_nmi,
        vcpu.smi_pending,
        bool(vcpu.pending_events & KVM_APIC_INIT),
    )


def kvm_vcpu_ioctl_x86_set_vcpu_events(vcpu: Vcpu, events: VcpuEvents) -> None:
    """KVM_SET_VCPU_EVENTS, on a vCPU that has KVM_REQ_EVENT. INIT is set or cleared, SIPI left."""
    vcpu.irq_injected, vcpu.nmi_injected = events.irq_injected, events.nmi_injected
    vcpu.nmi_pending = min(1, events.nmi_pending)
    kvm_x86_ops.set_nmi_mask(vcpu, events.nmi_mask)
    vcpu.smm, vcpu.smm_inside_nmi = events.smm, events.smm_inside_nmi
    vcpu.smi_pending = events.smi_pending
    latched = KVM_APIC_INIT if events.latched_init else 0
    vcpu.pending_events = vcpu.pending_events & ~KVM_APIC_INIT | latched


def save_restore(vcpu: Vcpu) -> Vcpu:
    """Live migration, in QEMU's order of ioctls; returns the vCPU created anew.

    Saving reads the events, then mp_state (which processes INIT and SIPI), then the registers,
    the local APIC and the nested state. Restoring writes registers, nested state, local APIC,
    events, mp_state. Lost on the way: a pending SIPI and its vector, the requests, a second
    pending NMI, window exits. An ioctl that fails ends the migration: the vCPU is dead.
    """
    events = kvm_vcpu_ioctl_x86_get_vcpu_events(vcpu)
    mp_state = kvm_arch_vcpu_ioctl_get_mpstate(vcpu)

    new = Vcpu(vcpu.bsp, mp_state=Mp.UNINITIALIZED, requests=Req.EVENT)
    carry(vcpu, new, OF_THIS_STEP)
    new.nested_exit = vcpu.nested_exit
    new.svme = vcpu.svme
    restored = kvm_x86_ops.set_nested_state(new, vcpu)
    carry(vcpu, new, REGISTERS)
    if new.smm_save and new.smm_save.guest_mode:
        new.smm_save = new.smm_save._replace(hsave_lost=True)
    carry(vcpu, new, LAPIC)
    kvm_vcpu_ioctl_x86_set_vcpu_events(new, events)
    restored = restored and kvm_arch_vcpu_ioctl_set_mpstate(new, mp_state)
    new.dead = vcpu.dead or ("" if restored else "error")
    return new


def carry(old: Vcpu, new: Vcpu, names: tuple[str, ...]) -> None:
    for name in names:
        setattr(new, name, getattr(old, name))
