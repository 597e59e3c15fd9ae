"""One step of a logical processor: everything that it may do in it, and what else it might.

A step is: take what is pending, execute the step's instruction if the context for it is still
there, take what that let in, and run on to the next instruction or wait. The manuals bound no
latency; what is pending and not blocked must be taken before an instruction is executed.

A behaviour that a rule forbids is a behaviour with the name of that rule on it. Which these are
is what the judge can tell apart: an event that is late, one taken although it is blocked, one that
does something else, a HLT or wait-for-SIPI that ends by itself.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from fuzz.judge.states import (
    PRIORITY,
    WFS,
    Event,
    Manual,
    Vcpu,
    Way,
    may_receive,
    pending,
    receive,
    resume,
)
from variants.machine.step import TO_ALL, TO_SELF, Step

ANYWHERE: Final = ("nop", "hlt", "sti", "cli", "icr")
IN_L1: Final = ("clgi", "stgi", "vmrun", "rdmsr")
Message = tuple[str, int]
"""The delivery mode and the vector of an interrupt message."""


class Run(NamedTuple):
    """A step so far. breaks: the rules broken. taken: what handlers showed. executed: the
    instruction. gone: its context. woke: a HLT ended and nothing shows why. landing: messages that
    come at some time in this step, or after it."""

    vcpu: Vcpu
    landing: tuple[Message, ...] = ()
    breaks: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    executed: bool = False
    gone: bool = False
    woke: bool = False


class Bound(NamedTuple):
    """most: how many rules may be broken. lazy: nothing that is pending must be taken."""

    manual: Manual
    most: int
    lazy: bool


def behaviours(bound: Bound, vcpu: Vcpu, step: Step, landing: tuple[Message, ...]) -> Iterator[Run]:
    """What `step` may make of `vcpu`, and with rules broken."""
    for run in settle(bound, Run(vcpu, landing), ""):
        if run.gone or not can_execute(run.vcpu, step.op):
            yield from ended(bound, run)
            continue
        if bound.lazy:
            yield from ended(bound, run)
        for ready in meanwhile(bound.manual, run):
            vcpu = ready.vcpu._replace(migrated=False, forced=False)
            for way in execute(bound.manual, vcpu, step):
                for after in follow(bound, ready._replace(executed=True), way):
                    for rest in settle(bound, after, step.op):
                        yield from ended(bound, rest)


def meanwhile(manual: Manual, run: Run) -> Iterator[Run]:
    """Messages may come while the instruction executes: too late to be taken before it."""
    yield run
    if run.landing:
        for vcpu in land(manual, run.vcpu, run.landing[:1]):
            yield from meanwhile(manual, run._replace(vcpu=vcpu, landing=run.landing[1:]))


def land(manual: Manual, vcpu: Vcpu, messages: Iterable[Message]) -> Iterator[Vcpu]:
    """All of `messages` come, in order."""
    vcpus = [vcpu]
    for mode, vector in messages:
        vcpus = [after for one in vcpus for after in receive(manual, one, mode, vector)]
    yield from vcpus


def idle(bound: Bound, vcpu: Vcpu) -> Iterator[Run]:
    """What may become of `vcpu` while the host does something: pending events may be taken."""
    return settle(bound._replace(lazy=True), Run(vcpu, executed=True), "")


def can_execute(vcpu: Vcpu, op: str) -> bool:
    """Is the processor ready for an instruction, and does `op` belong where it stands?"""
    if vcpu.activity != "active" or vcpu.dead or (vcpu.boot is not None and not vcpu.smm):
        return False
    if op in ANYWHERE:
        return True
    if vcpu.smm:
        return op == "rsm"
    if vcpu.l2:
        return op in ("vmcall", "vmmcall")
    if op in ("vmxoff", "vmlaunch"):
        return vcpu.vmx
    return op in IN_L1 or (op == "vmxon" and not vcpu.vmx)


def execute(manual: Manual, vcpu: Vcpu, step: Step) -> Iterator[Way]:
    """What the instruction does."""
    match step.op:
        case "nop":
            yield Way(vcpu)
        case "hlt":
            yield Way(vcpu._replace(activity="hlt"))
        case "sti" | "cli":
            yield Way(vcpu._replace(interrupts=step.op == "sti"))
        case "rsm":
            yield from resume(vcpu)
        case "icr":
            yield from (Way(after) for after in send_to_oneself(manual, vcpu, step))
        case _:
            yield from manual.execute(vcpu, step)


def send_to_oneself(manual: Manual, vcpu: Vcpu, step: Step) -> Iterator[Vcpu]:
    if step.to not in (TO_SELF, TO_ALL, step.on):
        return iter((vcpu,))
    come = receive if step.mode == "fixed" else may_receive
    return come(manual, vcpu, step.mode, step.vector)


def settle(bound: Bound, run: Run, op: str) -> Iterator[Run]:
    """All ways in which what is pending is taken, until nothing is left that must be.

    op: the instruction just executed, "" before one.
    """
    if run.vcpu.dead:
        yield run
        return
    if run.landing:
        for landed in land(bound.manual, run.vcpu, run.landing[:1]):
            yield from settle(bound, run._replace(vcpu=landed, landing=run.landing[1:]), op)
    vcpu, blocked = run.vcpu, bound.manual.blocked
    unblocked = [event for event in pending(vcpu) if not blocked(vcpu, event)]
    due = [event for event in unblocked if not bound.lazy and event not in vcpu.overdue]
    first = [event for event in due if PRIORITY[event] == PRIORITY[due[0]]]
    if not due:
        yield run
    for event in unblocked:
        if event in first or event not in due:
            for way in bound.manual.take(vcpu, event):
                for after in follow(bound, run, way):
                    yield from settle(bound, after, op)
    if len(run.breaks) < bound.most:
        for way in wrong_ways(bound.manual, vcpu, first, op):
            for after in follow(bound, run, way):
                yield from settle(bound, after, op)


def wrong_ways(manual: Manual, vcpu: Vcpu, due: list[Event], op: str) -> Iterator[Way]:
    """What no manual allows next: to be late, to take what is blocked, to wake up by itself."""
    for event in due:
        yield Way(vcpu._replace(overdue=vcpu.overdue | {event}), (manual.late(vcpu, event, op),))
    for event in pending(vcpu):
        if rule := manual.blocked(vcpu, event):
            for way in manual.take(vcpu, event):
                yield way._replace(breaks=(rule,))
    if vcpu.activity == "hlt" and not due:
        awake = vcpu._replace(activity="active", sipi_met="kept" if vcpu.sipi_met else "")
        yield Way(awake, (woken_by(vcpu),))
    if vcpu.activity == WFS and vcpu.start is None:
        if vcpu.sipi_met:
            for way in manual.take(vcpu._replace(start=vcpu.sipi_vector, sipi_met=""), "sipi"):
                if not way.breaks:
                    yield way._replace(breaks=("sipi-kept",))
        if not pending(vcpu):
            yield Way(vcpu._replace(activity="active"), ("wfs-alone",))


def woken_by(vcpu: Vcpu) -> str:
    """The rule that a HLT breaks which ends although nothing is pending that may end it."""
    held = set(pending(vcpu))
    if vcpu.sipi_met == "hlt":
        return "hlt-sipi"
    if "init" in held:
        return "hlt-init"
    if vcpu.sipi_met and not held - {"fixed"}:
        return "sipi-kept"
    return "hlt-blocked" if held else "hlt-alone"


def follow(bound: Bound, run: Run, way: Way) -> Iterator[Run]:
    """`run` gone on by `way`, unless that breaks more rules than it may."""
    breaks = run.breaks + tuple(rule for rule in way.breaks if rule not in run.breaks)
    if len(breaks) > bound.most:
        return
    halted, leaves = run.vcpu.activity == "hlt", way.leaves
    alone = way.vcpu.activity == "active" and not leaves and not way.taken
    yield run._replace(
        vcpu=way.vcpu,
        breaks=breaks,
        taken=run.taken + way.taken,
        gone=run.gone or leaves,
        woke=run.woke or (halted and alone),
    )


def ended(bound: Bound, run: Run) -> Iterator[Run]:
    """The step is over. Messages that have not come in it come now."""
    vcpu = run.vcpu
    late = vcpu.overdue.intersection(pending(vcpu))
    # A SIPI that does not end a HLT has been discarded.
    kept: Literal["", "kept"] = "kept" if vcpu.sipi_met and vcpu.activity != "hlt" else ""
    vcpu = vcpu._replace(overdue=late, sipi_met=kept, sipi_vector=vcpu.sipi_vector if kept else 0)
    if run.gone:
        vcpu = vcpu._replace(migrated=False, forced=False)
    for after in land(bound.manual, vcpu, run.landing):
        yield run._replace(vcpu=after, landing=())
