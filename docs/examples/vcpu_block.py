"""A dropped SIPI does not end a HLT: vcpu_block looks again once INIT and SIPI are dealt with.

In Linux 5.10 whatever woke the vCPU ends its HLT, even if kvm_apic_accept_events then drops it.

    eventdiff fuzz --time 10 --variants original --variant docs/examples/vcpu_block.py
"""

from variants.machine import events, run
from variants.machine.preemption import preempt
from variants.machine.vcpu import Mp, Vcpu
from variants.variant import Variant, replaces


@replaces(run.vcpu_block)
def vcpu_block(vcpu: Vcpu) -> run.Ran:
    """Halted unless something is still there to wake up for."""
    if not run.kvm_vcpu_block(vcpu):
        return run.Ran.BLOCKED
    preempt(vcpu, "block-checked")
    events.kvm_apic_accept_events(vcpu)
    if vcpu.mp_state == Mp.HALTED and events.kvm_vcpu_has_events(vcpu):
        vcpu.mp_state = Mp.RUNNABLE
    return run.Ran.AGAIN


VARIANT = Variant("block-again", "an example on Linux 5.10", (vcpu_block,))
