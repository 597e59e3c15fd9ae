"""STGI looks at INIT too: setting GIF raises KVM_REQ_EVENT for a pending INIT or SIPI.

Linux 5.10 looks at SMI, NMI and interrupts alone, so an INIT held by GIF=0 is taken late.

    eventdiff fuzz --time 10 --variants original --variant docs/examples/svm_set_gif.py
"""

from variants.machine import svm
from variants.machine.vcpu import Req, Vcpu
from variants.variant import Variant, replaces


@replaces(svm.svm_set_gif)
def svm_set_gif(vcpu: Vcpu, value: bool) -> None:
    """As before, and then look at pending_events."""
    svm.svm_set_gif(vcpu, value)
    if value and vcpu.pending_events:
        vcpu.request(Req.EVENT)


VARIANT = Variant("stgi-init", "an example on Linux 5.10", (svm_set_gif,))
