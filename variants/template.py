"""What `eventdiff variants --new` writes: a variant to start from.

Below, the function that replaces one of the machine's, then the variant itself. Run it:

    eventdiff fuzz --time 10 --variants original --variant template.py --out reports/template

`eventdiff variants --functions` lists what can be replaced, each named as in KVM; read it in
`variants/machine/`. `eventdiff variants --variant template.py --diff original template` shows what
this file changes.
"""

from variants.machine import events
from variants.machine.vcpu import KVM_APIC_SIPI, Vcpu
from variants.variant import Variant, replaces


# Replaces the function named, which must have the same parameters. Replace more by writing more.
@replaces(events.kvm_apic_accept_events)
def kvm_apic_accept_events(vcpu: Vcpu) -> None:
    """As in Linux 5.10, but a SIPI is kept while L2 runs: put what your patch does here."""
    kept = vcpu.pending_events & KVM_APIC_SIPI if vcpu.guest_mode else 0
    # In here `events.kvm_apic_accept_events` means the function replaced. Call it to do something
    # more, as here, or write the whole function as your patch has it.
    events.kvm_apic_accept_events(vcpu)
    vcpu.pending_events |= kept


# A function may only depend on the vCPU, the step and the messages: each step is computed once and
# remembered. What must last from step to step goes into the fields of `Vcpu`.
VARIANT = Variant(
    "template",
    "my patch, v1: what it is against, and when",
    (kvm_apic_accept_events,),
    # on=..: another VARIANT to build on, as `paolo` does on `yadong`.
)
