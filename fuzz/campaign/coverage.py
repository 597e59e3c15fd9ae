"""What counts as new to the fuzzer: coverage counters of joint vCPUs.

libFuzzer keeps an input that sets a counter which none has set before. docs/coverage.md says why it
is these.
"""

from typing import Final

from fuzz.memory.numbers import JointId, VcpuId
from fuzz.memory.packed import NOTHING, Packed
from variants.machine.vcpu import Req, VcpuState, thaw

COUNTERS: Final = 4096
"""More of them make libFuzzer's corpus explode."""

Outline = tuple[object, ...]


def outline(state: VcpuState) -> Outline:
    """The part of a vCPU's state that decides what becomes of events."""
    vcpu = thaw(state)
    mode = (vcpu.guest_mode, vcpu.controls, vcpu.smm, not vcpu.gif, vcpu.vmxon)
    nmi = (bool(vcpu.nmi_pending or vcpu.nmi_queued), vcpu.nmi_mask)
    smi = bool(vcpu.smi_pending or vcpu.requests & Req.SMI)
    interrupt = (bool(vcpu.irr), vcpu.rflags_if)
    event = vcpu.requests & Req.EVENT
    return (vcpu.pending_events, vcpu.mp_state, *mode, *nmi, smi, *interrupt, event)


class ByOutline:
    """A counter an outline: who is still compared, why they differ inside, and what INIT and SIPI
    meet. Not the whole state: that has no end and makes the corpus explode."""

    def __init__(self) -> None:
        self._counters: dict[object, int] = {}
        self._outlines: dict[VcpuId, Outline] = {}
        self._of: Packed | None = None

    def __call__(self, packed: Packed, joint: JointId) -> int:
        if joint == NOTHING:
            return 0
        if packed is not self._of:
            # What numbers stand for has been forgotten.
            self._of, self._outlines = packed, {}
        seen = dict.fromkeys([self._outline(packed, vcpu) for vcpu in packed.vcpu_ids(joint)])
        label = packed.label(joint)
        key = (label.groups, label.unequal, *seen)
        return self._counters.setdefault(key, len(self._counters) % COUNTERS)

    def _outline(self, packed: Packed, vcpu: VcpuId) -> Outline:
        known = self._outlines.get(vcpu)
        if known is None:
            known = self._outlines[vcpu] = outline(packed.tables.vcpu(vcpu))
        return known


class ByState:
    """A counter a joint vCPU, for comparison: each is new, not only its outline."""

    def __init__(self) -> None:
        self._made = 0

    def __call__(self, packed: Packed, joint: JointId) -> int:
        self._made += 1
        return self._made % COUNTERS
