"""A logical processor as the manuals describe it, and how messages reach it.

Only what an INIT, a SIPI and their neighbours depend on. What the manuals leave open is never
guessed: a function gives all the states that may follow.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, Protocol, get_args

from variants.machine.observation import NestedExit
from variants.machine.step import Step

Activity = Literal["active", "hlt", "wait-for-sipi"]
"""SDM vol. 3, 24.4.2. A processor that INIT has reset waits for SIPI too."""
WFS: Final[Activity] = "wait-for-sipi"
ACTIVITIES: Final[tuple[Activity, ...]] = get_args(Activity)

Event = Literal["init", "smi", "sipi", "nmi", "fixed"]
PRIORITY: Final[dict[Event, int]] = {"init": 0, "smi": 0, "sipi": 1, "nmi": 2, "fixed": 3}
"""Smaller goes first; what is equal, in either order. SDM vol. 3, 6.9; APM vol. 2, 8.5."""

RESET: Final = -1
"""`boot` at the reset vector; start-up vectors are 0 to 255."""
ANY_VECTOR: Final = -2
"""A start-up vector that the host chose, and does not say."""


class Vcpu(NamedTuple):
    """A logical processor between two instructions.

    vmx, l2, smm: in VMX operation, in VMX non-root operation or an SVM guest, in SMM.
    gif: SVM's global interrupt flag; true with VMX. interrupts: RFLAGS.IF; l1_interrupts: what
        a #VMEXIT makes of it (SVM).
    nmi_blocked: blocking by NMI; l1_nmi_blocked: what it was in L1 when L2 was entered.
    controls: what L1 intercepts. apic: the local APIC is enabled by software.
    init, smi, nmi, fixed: what is pending; of NMIs at most two. start: the vector of a SIPI that
        has been accepted and not acted on, else None.
    boot: start code has yet to report this, else None. exit: L1 has yet to see this VM exit.
    saved: what RSM goes back to. wfs_offered: does VM entry accept wait-for-SIPI, if that is known?
    dead: nothing more is judged.

    What should have no effect is noted too, to name what it does: sipi_met says that the last
    discarded SIPI came in a HLT ("hlt") or a step ago or more ("kept"), "" that there was none;
    sipi_vector is its vector. overdue: what is pending and need not be taken: it was found late, or
    should not have come. forced: the host has chosen the activity. migrated: no instruction has
    been executed since save-restore.
    """

    bsp: bool
    activity: Activity = "active"
    vmx: bool = False
    l2: bool = False
    smm: bool = False
    gif: bool = True
    interrupts: bool = False
    l1_interrupts: bool = False
    nmi_blocked: bool = False
    l1_nmi_blocked: bool = False
    controls: tuple[str, ...] = ()
    apic: bool = True
    init: bool = False
    smi: bool = False
    nmi: int = 0
    fixed: tuple[int, ...] = ()
    start: int | None = None
    boot: int | None = None
    exit: NestedExit | None = None
    saved: "Vcpu | None" = None
    wfs_offered: bool | None = None
    dead: bool = False
    sipi_met: Literal["", "hlt", "kept"] = ""
    sipi_vector: int = 0
    overdue: frozenset[Event] = frozenset()
    forced: bool = False
    migrated: bool = False


class Way(NamedTuple):
    """One thing that can follow. breaks: the rules that forbid it. taken: what the guest's handlers
    then show. leaves: the step's instruction is not executed any more."""

    vcpu: Vcpu
    breaks: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    leaves: bool = False


class Manual(Protocol):
    """What one vendor's manual says: `fuzz.judge.intel` and `fuzz.judge.amd`.

    Rules are named by their ids in `fuzz.judge.rules`.
    """

    def blocked(self, vcpu: Vcpu, event: Event) -> str:
        """The rule that holds `event` back; "" if none does."""

    def take(self, vcpu: Vcpu, event: Event) -> Iterator[Way]:
        """What `event` does when it is taken, and what else might be done with it."""

    def late(self, vcpu: Vcpu, event: Event, op: str) -> str:
        """The rule broken where `event` is not taken after `op`, or before anything ("")."""

    def execute(self, vcpu: Vcpu, step: Step) -> Iterator[Way]:
        """What the vendor's own instruction `step` does."""

    def arrives_in_wfs(self, vcpu: Vcpu, after: Vcpu) -> tuple[Vcpu, ...]:
        """An NMI or SMI reaches a processor that waits for SIPI; `after`: it is then pending."""


def pending(vcpu: Vcpu) -> tuple[Event, ...]:
    """What waits to be taken, blocked or not."""
    there = {
        "init": vcpu.init,
        "smi": vcpu.smi,
        "sipi": vcpu.start is not None and vcpu.activity == WFS,
        "nmi": vcpu.nmi,
        "fixed": vcpu.fixed,
    }
    return tuple(event for event in PRIORITY if there[event])


def waits_after_reset(vcpu: Vcpu) -> bool:
    """In wait-for-SIPI outside of a guest, as INIT leaves an AP?"""
    return vcpu.activity == WFS and not vcpu.l2


def receive(manual: Manual, vcpu: Vcpu, mode: str, vector: int) -> Iterator[Vcpu]:
    """A message has come. An INIT level de-assert changes nothing (SDM vol. 3, 10.6.1)."""
    match mode:
        case "init":
            after = vcpu._replace(init=True, start=vcpu.start if vcpu.l2 else None)
            # Blocked in L2's wait-for-SIPI, it need not be held.
            yield from doubted(vcpu, after) if in_wfs(vcpu) and vcpu.l2 else (after,)
        case "sipi":
            yield from receive_sipi(manual, vcpu, vector)
        case "nmi":
            for count in {1} if not vcpu.nmi else {vcpu.nmi, 2}:
                yield from kept_in_wfs(manual, vcpu, vcpu._replace(nmi=count))
        case "smi":
            yield from kept_in_wfs(manual, vcpu, vcpu._replace(smi=True))
        case "fixed" if vcpu.apic:
            yield vcpu._replace(fixed=tuple(sorted({*vcpu.fixed, vector})))
        case _:
            yield vcpu


def may_receive(manual: Manual, vcpu: Vcpu, mode: str, vector: int) -> Iterator[Vcpu]:
    """A message that the manuals call invalid has been sent: whatever becomes of it is right.

    That is all but fixed interrupts, sent to oneself or to all including oneself (SDM 10.6.1, table
    10-3; APM 16.5).
    """
    yield vcpu
    for after in receive(manual, vcpu, mode, vector):
        yield from doubted(vcpu, after)


def doubted(before: Vcpu, after: Vcpu) -> tuple[Vcpu, Vcpu]:
    """What has newly come may be there or not: `after` or `before`."""
    new = set(pending(after)) - set(pending(before))
    return before, after._replace(overdue=after.overdue | new)


def in_wfs(vcpu: Vcpu) -> bool:
    """Does it wait for SIPI, and not in SMM?"""
    return vcpu.activity == WFS and not vcpu.smm


def kept_in_wfs(manual: Manual, vcpu: Vcpu, after: Vcpu) -> tuple[Vcpu, ...]:
    if not in_wfs(vcpu):
        return (after,)
    return manual.arrives_in_wfs(vcpu, after)


def receive_sipi(manual: Manual, vcpu: Vcpu, vector: int) -> Iterator[Vcpu]:
    """Only who waits for SIPI accepts one: SIPIs are never latched. Of two, either may count.

    No latency is bounded: if an INIT came first, and is not blocked, the SIPI may count after it.
    """
    if in_wfs(vcpu):
        yield vcpu._replace(start=vector)
        if vcpu.start is not None:
            yield vcpu
        return
    met: Literal["hlt", "kept"] = "hlt" if vcpu.activity == "hlt" else "kept"
    yield vcpu._replace(sipi_met=met, sipi_vector=vector)
    if vcpu.init and not manual.blocked(vcpu, "init"):
        yield vcpu._replace(start=vector)


def reset(vcpu: Vcpu, waits: bool) -> Iterator[Vcpu]:
    """INIT. An NMI or SMI that was pending may be cleared by it or not (SDM 10.4.7.3, 25.2)."""
    after = Vcpu(
        vcpu.bsp,
        activity=WFS if waits else "active",
        apic=False,
        boot=RESET,
        start=vcpu.start if waits else None,
        wfs_offered=vcpu.wfs_offered,
        sipi_met="kept" if vcpu.sipi_met else "",
        sipi_vector=vcpu.sipi_vector,
    )
    for nmi in {0, vcpu.nmi}:
        for smi in {False, vcpu.smi}:
            yield after._replace(nmi=nmi, smi=smi)


def handled(vcpu: Vcpu, event: Event) -> Way:
    """The guest's handler takes an NMI or an interrupt, and returns by IRET.

    In SMM there is no handler, and the processor shuts down (SDM vol. 3, 34.6).
    """
    if vcpu.smm:
        return Way(vcpu._replace(dead=True), leaves=True)
    awake = vcpu._replace(activity="active", nmi_blocked=False)
    if event == "nmi":
        return Way(awake._replace(nmi=vcpu.nmi - 1), taken=("nmi",))
    *rest, vector = vcpu.fixed
    return Way(awake._replace(fixed=tuple(rest)), taken=(f"fixed:{vector:#04x}",))


def enter_smm(vcpu: Vcpu) -> Way:
    """An SMI is taken: SMI, INIT, NMI are blocked and IF is 0 (SDM vol. 3, 34.4 to 34.7)."""
    context = vcpu._replace(
        init=False, smi=False, nmi=0, fixed=(), start=None, sipi_met="", sipi_vector=0
    )
    context = context._replace(overdue=frozenset(), forced=False, migrated=False)
    inside = vcpu._replace(smm=True, smi=False, l2=False, activity="active", interrupts=False)
    inside = inside._replace(nmi_blocked=True, boot=None, exit=None, start=None)
    return Way(inside._replace(saved=context), leaves=True)


def resume(vcpu: Vcpu) -> Iterator[Way]:
    """RSM: back to what the SMI interrupted; to the HLT too (SDM vol. 3, 34.10; APM 10.3.7)."""
    saved = vcpu.saved
    assert saved is not None
    back = saved._replace(
        init=vcpu.init,
        smi=vcpu.smi,
        nmi=vcpu.nmi,
        fixed=vcpu.fixed,
        wfs_offered=vcpu.wfs_offered,
        sipi_met="kept" if vcpu.sipi_met else "",
        sipi_vector=vcpu.sipi_vector,
        overdue=vcpu.overdue,
    )
    yield Way(back)
    if back.activity == "hlt":
        yield Way(back._replace(activity="active"), ("rsm-hlt",))


def force(vcpu: Vcpu, state: str) -> Vcpu:
    """The host chooses the activity (KVM_SET_MP_STATE). Of a SIPI it chooses no vector.

    UNINITIALIZED waits for INIT. Where no processor can wait for SIPI nothing more is judged.
    """
    activity: Activity = "active" if state == "RUNNABLE" else WFS
    if state == "HALTED":
        activity = "hlt"
    if activity == vcpu.activity and state not in ("SIPI_RECEIVED", "UNINITIALIZED"):
        return vcpu
    start = ANY_VECTOR if state == "SIPI_RECEIVED" else None
    after = vcpu._replace(activity=activity, start=start, forced=True)
    if vcpu.start is not None and activity != WFS:
        after = after._replace(sipi_met="kept", sipi_vector=vcpu.start)
    return after._replace(dead=activity == WFS and not can_wait(vcpu))


def can_wait(vcpu: Vcpu) -> bool:
    """Can a processor wait for SIPI where this one is? With VMX in L2 or outside VMX operation."""
    return not vcpu.smm and vcpu.gif and vcpu.vmx == vcpu.l2
