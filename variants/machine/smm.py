"""SMM: entering it and RSM. Source: Linux 5.10 arch/x86/kvm/x86.c; `em_rsm` is emulate.c's."""

from variants.machine.ops import kvm_x86_ops
from variants.machine.vcpu import Req, SmmSave, Vcpu


def enter_smm(vcpu: Vcpu) -> None:
    """Take an SMI: L2 is left without an exit that L1 would see, NMIs are masked."""
    context = (vcpu.rflags_if, vcpu.frames, vcpu.boot, vcpu.svme, vcpu.guest_mode, vcpu.nmi_mask)
    vcpu.smm_save = SmmSave(*context)
    kvm_x86_ops.pre_enter_smm(vcpu)
    vcpu.smm = True
    if vcpu.nmi_mask:
        vcpu.smm_inside_nmi = True
    else:
        kvm_x86_ops.set_nmi_mask(vcpu, True)
    vcpu.rflags_if = False
    vcpu.request(Req.EVENT)
    kvm_x86_ops.set_efer(vcpu)
    vcpu.frames = ()
    vcpu.boot = -1
    vcpu.drop_instruction()


def em_rsm(vcpu: Vcpu) -> None:
    """RSM: back to the interrupted context, in L2 if the SMI came there."""
    saved = vcpu.smm_save
    assert saved is not None
    if not vcpu.smm_inside_nmi:
        kvm_x86_ops.set_nmi_mask(vcpu, False)
    vcpu.smm = vcpu.smm_inside_nmi = False
    kvm_x86_ops.pre_leave_smm(vcpu, saved)
    vcpu.svme = saved.svme
    vcpu.rflags_if = saved.rflags_if
    vcpu.frames = saved.frames
    vcpu.boot = saved.boot
    vcpu.smm_save = None
    vcpu.request(Req.EVENT)
