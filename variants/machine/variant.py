"""A variant: the hooks a patch to KVM's INIT/SIPI handling can change."""

from collections.abc import Callable
from dataclasses import dataclass

from variants.machine.vcpu import Vcpu


@dataclass(frozen=True)
class Variant:
    """One implementation of event handling, its hooks named as KVM's functions.

    name: a word, unique among the variants compared.
    provenance: where the change comes from: kernel version, patch and date.
    kvm_apic_accept_events: decide what becomes of pending INIT and SIPI.
    vmx_check_nested_events, svm_check_nested_events: turn an event into a VM exit to L1; 0 when
        looked at (whether or not it exited), -EBUSY when that must wait.
    vmx_apic_init_signal_blocked, svm_apic_init_signal_blocked: is INIT held pending?
    vmx_activities: activity states that a VM entry accepts; wait-for-sipi among them is also
        advertised in IA32_VMX_MISC, and entry then sets the vCPU to INIT_RECEIVED.
    vmx_saved_activity: the activity state that a VM exit saves (`sync_vmcs02_to_vmcs12`).
    """

    name: str
    provenance: str
    kvm_apic_accept_events: Callable[[Vcpu], None]
    vmx_check_nested_events: Callable[[Vcpu], int]
    svm_check_nested_events: Callable[[Vcpu], int]
    vmx_apic_init_signal_blocked: Callable[[Vcpu], bool]
    svm_apic_init_signal_blocked: Callable[[Vcpu], bool]
    vmx_activities: tuple[str, ...]
    vmx_saved_activity: Callable[[Vcpu], str]
