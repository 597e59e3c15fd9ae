"""Preemption: what another vCPU sends lands while this one is inside KVM's loop."""

from variants.machine.lapic import apic_accept_irq
from variants.machine.points import Point
from variants.machine.vcpu import Vcpu


def preempt(vcpu: Vcpu, point: Point) -> bool:
    """Let the armed remote writes for `point` land; true if there was one."""
    vcpu.passed[point] = None
    if not vcpu.arrivals:
        return False
    landing = [irq for at, irq in vcpu.arrivals if at == point]
    if not landing:
        return False
    vcpu.arrivals = [armed for armed in vcpu.arrivals if armed[0] != point]
    for irq in landing:
        apic_accept_irq(vcpu, irq)
    return True
