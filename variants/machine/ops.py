"""`kvm_x86_ops`: what the common loop asks of VMX or SVM."""

from collections.abc import Callable
from dataclasses import dataclass

from variants.machine.vcpu import SmmSave, Vcpu


@dataclass(frozen=True)
class X86Ops:
    """The vendor's half of KVM, named as in Linux 5.10.

    check_nested_events, apic_init_signal_blocked: the vendor's hook of the vCPU's variant.
    smi_allowed, nmi_allowed, interrupt_allowed: 0, 1, or -EBUSY; the flag is `for_injection`.
    set_nmi: NMI injection begins. nmi_delivered: the guest's NMI handler is entered.
    window_exit: handle a window exit that is due before the guest's next instruction, if any.
    iret: the guest executes IRET; false when it exits instead.
    complete_interrupts: after a VM exit.
    shutdown: what a triple fault does to the vCPU besides ending KVM_RUN.
    execute: emulate the trapped instruction of this vendor's extension.
    set_nested_state: what KVM_SET_NESTED_STATE makes of the saved vCPU (second argument) on a
        new one (first); false for EINVAL.
    """

    check_nested_events: Callable[[Vcpu], int]
    apic_init_signal_blocked: Callable[[Vcpu], bool]
    smi_allowed: Callable[[Vcpu, bool], int]
    nmi_allowed: Callable[[Vcpu, bool], int]
    interrupt_allowed: Callable[[Vcpu, bool], int]
    set_nmi_mask: Callable[[Vcpu, bool], None]
    set_nmi: Callable[[Vcpu], None]
    nmi_delivered: Callable[[Vcpu], None]
    enable_nmi_window: Callable[[Vcpu], None]
    enable_irq_window: Callable[[Vcpu], None]
    window_exit: Callable[[Vcpu], bool]
    iret: Callable[[Vcpu], bool]
    complete_interrupts: Callable[[Vcpu], None]
    cancel_injection: Callable[[Vcpu], None]
    pre_enter_smm: Callable[[Vcpu], None]
    enter_smm_efer: Callable[[Vcpu], None]
    pre_leave_smm: Callable[[Vcpu, SmmSave], None]
    vcpu_reset: Callable[[Vcpu], None]
    shutdown: Callable[[Vcpu], None]
    execute: Callable[[Vcpu, str], None]
    set_nested_state: Callable[[Vcpu, Vcpu], bool]
