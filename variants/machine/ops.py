"""`kvm_x86_ops`: what the common loop asks of VMX or SVM."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from variants.machine.step import Vendor
from variants.machine.vcpu import SmmSave, Vcpu


@dataclass(frozen=True)
class X86Ops:
    """The vendor's half of KVM, named as in Linux 5.10.

    vendor: whose it is.
    check_nested_events: turn an event into a VM exit to L1; 0 when looked at (whether or not it
        exited), -EBUSY when that must wait.
    apic_init_signal_blocked: is INIT held pending?
    smi_allowed, nmi_allowed, interrupt_allowed: 0, 1, or -EBUSY; the flag is `for_injection`.
    inject_nmi: NMI injection begins. nmi_delivered: the guest's NMI handler is entered.
    window_exit: handle a window exit that is due before the guest's next instruction, if any.
    iret: the guest executes IRET; false when it exits instead.
    complete_interrupts: after a VM exit.
    set_efer: EFER is cleared, as entering SMM does.
    triple_fault: what a triple fault does to the vCPU besides ending KVM_RUN.
    fail_entry: the processor has refused the VM entry; `dead` if that ends KVM_RUN.
    execute: emulate the trapped instruction of this vendor's extension.
    set_nested_state: what KVM_SET_NESTED_STATE makes of the saved vCPU (second argument) on a
        new one (first); false for EINVAL.
    """

    vendor: Vendor
    check_nested_events: Callable[[Vcpu], int]
    apic_init_signal_blocked: Callable[[Vcpu], bool]
    smi_allowed: Callable[[Vcpu, bool], int]
    nmi_allowed: Callable[[Vcpu, bool], int]
    interrupt_allowed: Callable[[Vcpu, bool], int]
    set_nmi_mask: Callable[[Vcpu, bool], None]
    inject_nmi: Callable[[Vcpu], None]
    nmi_delivered: Callable[[Vcpu], None]
    enable_nmi_window: Callable[[Vcpu], None]
    enable_irq_window: Callable[[Vcpu], None]
    window_exit: Callable[[Vcpu], bool]
    iret: Callable[[Vcpu], bool]
    complete_interrupts: Callable[[Vcpu], None]
    cancel_injection: Callable[[Vcpu], None]
    pre_enter_smm: Callable[[Vcpu], None]
    set_efer: Callable[[Vcpu], None]
    pre_leave_smm: Callable[[Vcpu, SmmSave], None]
    vcpu_reset: Callable[[Vcpu], None]
    triple_fault: Callable[[Vcpu], None]
    fail_entry: Callable[[Vcpu], None]
    execute: Callable[[Vcpu, str], None]
    set_nested_state: Callable[[Vcpu, Vcpu], bool]


class Unlinked(X86Ops):
    """In place of a vendor's until `variants.link` puts that there: raises, whatever is asked."""

    def __init__(self) -> None:
        """It has nothing."""

    def __getattribute__(self, name: str) -> object:
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise RuntimeError("the machine runs only as variants.link has linked it")


kvm_x86_ops: Final[X86Ops] = Unlinked()
"""The vendor's functions, a global as in KVM: `variants.link` binds it to `SVM` or `VMX`."""
