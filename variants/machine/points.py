"""Preemption points: where inside KVM's vCPU loop a remote ICR write can land.

An `icr` step with `at: NAME` makes its write land the first time the target passes the point
NAME during the step that follows. Each name says which two accesses to shared memory (pending
events, SIPI vector, requests, IRR, NMI count) the write falls between. All sources are Linux
5.10. Variants pass a point at the same place even where only one of them has the access, so
that all are compared in the same interleaving; a write whose point is not passed lands at the
end of the step.
"""

from typing import Final, Literal

Point = Literal[
    "run-loop",
    "running-checked",
    "block-checked",
    "block-waiting",
    "requests-smi",
    "requests-nmi",
    "process-nmi",
    "event-cleared",
    "accept-pending",
    "accept-nested-checked",
    "accept-latched",
    "accept-taken",
    "accept-init",
    "accept-reset",
    "accept-vector",
    "accepted",
    "nested-init",
    "nested-init-clear",
    "nested-sipi",
    "nested-vector",
    "inject-nested-checked",
    "inject-smi",
    "injected",
    "entry",
    "guest-executed",
    "exit",
    "handled",
    "block-nested-checked",
]
"""A name that `preempt` takes: a misspelt one fails the type checker."""

POINTS: Final[dict[Point, str]] = {
    "run-loop": "vcpu_run: before kvm_vcpu_running",
    "running-checked": "vcpu_run: after kvm_vcpu_running, before vcpu_enter_guest or vcpu_block",
    "block-checked": "vcpu_block: after kvm_arch_vcpu_runnable said yes, before accept_events",
    "block-waiting": "kvm_vcpu_block: after the last check, asleep",
    "requests-smi": "vcpu_enter_guest: after KVM_REQ_SMI is tested, before KVM_REQ_NMI is",
    "requests-nmi": "vcpu_enter_guest: after KVM_REQ_NMI is tested, before KVM_REQ_EVENT is",
    "process-nmi": "process_nmi: before nmi_queued is taken",
    "event-cleared": "vcpu_enter_guest: after KVM_REQ_EVENT is cleared, before accept_events",
    "accept-pending": "kvm_apic_accept_events: after pending_events was found non-zero",
    "accept-nested-checked": "kvm_apic_accept_events: where paolo's nested check has been made",
    "accept-latched": "kvm_apic_accept_events: INIT is blocked, before SIPI is cleared",
    "accept-taken": "kvm_apic_accept_events: INIT allowed, before INIT is looked at",
    "accept-init": "kvm_apic_accept_events: INIT taken, before the reset",
    "accept-reset": "kvm_apic_accept_events: after the reset, before SIPI is looked at",
    "accept-vector": "kvm_apic_accept_events: SIPI accepted, before the vector is read",
    "accepted": "vcpu_enter_guest: after accept_events, before inject_pending_event",
    "nested-init": "check_nested_events: INIT seen, before it is cleared or exits",
    "nested-init-clear": "check_nested_events: INIT seen as absent, before SIPI is looked at",
    "nested-sipi": "check_nested_events: SIPI seen, before it is cleared",
    "nested-vector": "check_nested_events: SIPI cleared, before the vector is read",
    "inject-nested-checked": "inject_pending_event: after the nested check, before SMI",
    "inject-smi": "inject_pending_event: after SMI, before NMI and interrupts",
    "injected": "vcpu_enter_guest: after injection, before the last look at the requests",
    "entry": "vcpu_enter_guest: IN_GUEST_MODE, before the guest's next instruction",
    "guest-executed": "the guest: after the step's instruction",
    "exit": "vcpu_enter_guest: after the VM exit, before handle_exit",
    "handled": "vcpu_enter_guest: after handle_exit",
    "block-nested-checked": "kvm_arch_vcpu_runnable: after the nested check, before has_events",
}
"""In the order of their codes: a new one goes last, or campaigns of before are read wrong."""
