"""One vCPU: what KVM and the guest keep between two steps, and what one step has shown.

`VcpuState` is the immutable, hashable form. `Vcpu` is the working copy that one step mutates,
so that the loop and the variants read like the C they model; it never outlives the step.
"""

from dataclasses import dataclass, field, fields
from enum import IntEnum
from operator import attrgetter
from typing import Final, NamedTuple, NewType

from variants.machine.observation import NestedExit
from variants.machine.points import Point
from variants.machine.step import Step

VcpuState = NewType("VcpuState", tuple[object, ...])


class Mp(IntEnum):
    """`KVM_MP_STATE_*`, with the values of the KVM API."""

    RUNNABLE = 0
    UNINITIALIZED = 1
    INIT_RECEIVED = 2
    HALTED = 3
    SIPI_RECEIVED = 4


class Req(IntEnum):
    """The `KVM_REQ_*` bits this code depends on; they combine to plain numbers."""

    EVENT = 1
    NMI = 2
    SMI = 4


KVM_APIC_INIT: Final = 1
KVM_APIC_SIPI: Final = 2
EBUSY: Final = -16
EINVAL: Final = -22

RESET_VECTOR: Final = 0x100
"""`Vcpu.boot` of a vCPU that INIT has reset; smaller values are start-up vectors."""


class Irq(NamedTuple):
    """An interrupt message as a local APIC receives it (`struct kvm_lapic_irq`)."""

    mode: str
    vector: int


class Frame(NamedTuple):
    """An interrupt or NMI handler the guest is in the middle of."""

    kind: str
    """`irq` or `nmi` before its first instructions, `iret` after them."""
    rflags_if: bool
    """RFLAGS.IF that its IRET restores."""


class SmmSave(NamedTuple):
    """What the SMRAM state save area and KVM keep of the interrupted context."""

    rflags_if: bool
    frames: tuple[Frame, ...]
    boot: int
    svme: bool
    guest_mode: bool
    """The SMI came in L2."""
    nmi_mask: bool
    """VMX: blocking by NMI of the interrupted L2, kept in its vmcs12."""
    hsave_lost: bool = False
    """SVM: the vCPU was migrated in SMM, and L1's half of the interrupted L2 with it."""


@dataclass(slots=True)
class Vcpu:
    """A vCPU inside one step. Fields up to `nmi_window_l1` persist.

    pending_events: `KVM_APIC_INIT` and `KVM_APIC_SIPI` bits of the local APIC.
    sipi_vector: the last start-up vector received.
    irr, isr: pending and in-service fixed vectors, ascending.
    apic_enabled: the spurious-interrupt vector register's enable bit; a reset clears it and
        the guest's start code sets it.
    nmi_mask: NMIs are masked (SVM: HF_NMI_MASK; VMX: blocking by NMI in the loaded VMCS).
    gif, svme: SVM's global interrupt flag and EFER.SVME; true under VMX.
    controls: what the vmcb12 intercepts, or what the vmcs12 makes exit.
    iret_mask, iret_intercept, nmi_singlestep, vintr: `vcpu_svm`'s means to notice that an NMI
        handler has returned or that interrupts are enabled.
    irq_window, nmi_window: the window-exiting controls of the loaded VMCS; `*_l1` are those of
        vmcs01 while vmcs02 is loaded, as is `nmi_mask_l1`.
    vmcs02_loaded: vmcs02 is loaded. A reset that finds L2 running leaves it so.
    l1_if: L1's RFLAGS.IF while L2 runs (SVM).
    in_hlt: the guest executed HLT (or L2 was entered halted) and has not got past it.
    boot: the guest's start code has this left to report (a vector or `RESET_VECTOR`), else -1.
    nested_exit: the VM exit that L1 has yet to see. SMM may come in between.
    dead: "shutdown" or "error" once KVM_RUN can no longer continue this vCPU.

    Of this step only: `l1_lost` says that RSM went back to L2 with L1's half lost (SVM): a VM entry
    fails, unless a reset comes first, and either is in the same KVM_RUN; `insn` is the op the guest
    has yet to execute, `sent` says that the ICR was written, `arrivals` are remote writes armed
    for a preemption point, `passed` the points passed, in order, `progressed` says that the
    guest's RIP moved in this VM entry, `turns` and `turned` are the turns of KVM's loop and the
    states it has been in.
    """

    bsp: bool
    mp_state: Mp = Mp.RUNNABLE
    pending_events: int = 0
    sipi_vector: int = 0
    requests: int = 0
    irr: tuple[int, ...] = ()
    isr: tuple[int, ...] = ()
    apic_enabled: bool = True
    guest_mode: bool = False
    smm: bool = False
    smm_inside_nmi: bool = False
    smi_pending: bool = False
    nmi_pending: int = 0
    nmi_queued: int = 0
    nmi_injected: bool = False
    irq_injected: int = -1
    nmi_mask: bool = False
    nested_run_pending: bool = False
    rflags_if: bool = False
    frames: tuple[Frame, ...] = ()
    boot: int = -1
    in_hlt: bool = False
    smm_save: SmmSave | None = None
    controls: tuple[str, ...] = ()
    dead: str = ""
    nested_exit: NestedExit | None = None
    gif: bool = True
    svme: bool = True
    iret_mask: bool = False
    iret_intercept: bool = False
    nmi_singlestep: bool = False
    vintr: bool = False
    l1_if: bool = False
    vmxon: bool = False
    smm_vmxon: bool = False
    vmcs02_loaded: bool = False
    irq_window: bool = False
    nmi_window: bool = False
    nmi_mask_l1: bool = False
    irq_window_l1: bool = False
    nmi_window_l1: bool = False

    step: Step = field(init=False, compare=False)
    l1_lost: bool = field(init=False, default=False)
    insn: str = field(init=False, default="")
    executed: bool = field(init=False, default=False)
    taken: list[str] = field(init=False, default_factory=list)
    warn: str | None = field(init=False, default=None)
    woke: bool = field(init=False, default=False)
    progressed: bool = field(init=False, default=False)
    sent: bool = field(init=False, default=False)
    arrivals: list[tuple[str, Irq]] = field(init=False, default_factory=list)
    passed: dict[Point, None] = field(init=False, default_factory=dict)
    turns: int = field(init=False, default=0)
    turned: set[object] | None = field(init=False, default=None)

    def drop_instruction(self) -> None:
        """The context that would have executed the step's instruction is gone."""
        self.insn = ""
        self.in_hlt = False

    def freeze(self) -> VcpuState:
        """The persistent part, as an immutable value."""
        return VcpuState(_persistent(self))

    def request(self, req: Req) -> None:
        """`kvm_make_request`."""
        self.requests |= req

    def check_request(self, req: Req) -> bool:
        """`kvm_check_request`: test and clear."""
        if self.requests & req:
            self.requests &= ~req
            return True
        return False

    def warn_on(self, condition: bool, function: str) -> None:
        """`WARN_ON_ONCE`, armed anew for each step: note the first function that warned."""
        if condition and self.warn is None:
            self.warn = function


FIELDS: Final = tuple(f.name for f in fields(Vcpu) if f.init)
OF_THIS_STEP: Final = tuple(f.name for f in fields(Vcpu) if not f.init)
_persistent = attrgetter(*FIELDS)


def thaw(state: VcpuState) -> Vcpu:
    """A working copy of `state`."""
    return Vcpu(*state)
