"""KVM_RUN: the vCPU loop. Source: Linux 5.10 arch/x86/kvm/x86.c and virt/kvm/kvm_main.c."""

from enum import Enum, auto
from typing import Final

from variants.machine.events import (
    inject_pending_event,
    kvm_apic_accept_events,
    kvm_vcpu_halt,
    kvm_vcpu_has_events,
    process_nmi,
    process_smi,
)
from variants.machine.guest import Exit, run_guest
from variants.machine.lapic import apic_accept_irq, apic_set_eoi
from variants.machine.ops import kvm_x86_ops
from variants.machine.preemption import preempt
from variants.machine.smm import em_rsm
from variants.machine.step import TO_ALL, TO_SELF
from variants.machine.vcpu import Frame, Irq, Mp, Req, Vcpu


class Ran(Enum):
    """How a KVM_RUN that the host interrupts after a while has ended."""

    AGAIN = auto()
    """Not at all yet: the loop goes on, or the host calls again after EAGAIN."""
    EXITED = auto()
    """The guest trapped to the host."""
    BLOCKED = auto()
    """The vCPU sleeps and nothing pending would wake it."""
    BUSY = auto()
    """The loop spins; the guest makes no progress."""


TURNS_BEFORE_BUSY: Final = 12
"""From this turn of the loop on, look whether it returns to a state it has been in."""


def kvm_vcpu_running(vcpu: Vcpu) -> bool:
    """May the guest run? In L2 this also calls check_nested_events, whatever its answer."""
    if vcpu.guest_mode:
        kvm_x86_ops.check_nested_events(vcpu)
    return vcpu.mp_state == Mp.RUNNABLE


def kvm_arch_vcpu_runnable(vcpu: Vcpu) -> bool:
    """Is there anything to wake up for?"""
    if kvm_vcpu_running(vcpu):
        return True
    preempt(vcpu, "block-nested-checked")
    return kvm_vcpu_has_events(vcpu)


def kvm_vcpu_block(vcpu: Vcpu) -> bool:
    """Sleep until there is something to do; false if nothing comes."""
    while not kvm_arch_vcpu_runnable(vcpu):
        if not preempt(vcpu, "block-waiting"):
            return False
    return True


def vcpu_block(vcpu: Vcpu) -> Ran:
    """A vCPU that may not run: wait, take INIT and SIPI, and wake from HLT.

    Whatever made kvm_vcpu_has_events true ends the HLT, even if it is then dropped or held.
    """
    if not kvm_vcpu_block(vcpu):
        return Ran.BLOCKED
    preempt(vcpu, "block-checked")
    kvm_apic_accept_events(vcpu)
    if vcpu.mp_state == Mp.HALTED:
        vcpu.mp_state = Mp.RUNNABLE
    return Ran.AGAIN


def vcpu_enter_guest(vcpu: Vcpu) -> Ran:
    """Serve the requests, inject, enter the guest and handle its exit."""
    if vcpu.check_request(Req.SMI):
        process_smi(vcpu)
    preempt(vcpu, "requests-smi")
    if vcpu.check_request(Req.NMI):
        process_nmi(vcpu)
    preempt(vcpu, "requests-nmi")
    immediate_exit = False
    if vcpu.check_request(Req.EVENT):
        preempt(vcpu, "event-cleared")
        kvm_apic_accept_events(vcpu)
        if vcpu.mp_state == Mp.INIT_RECEIVED:
            return Ran.AGAIN
        preempt(vcpu, "accepted")
        immediate_exit = inject_pending_event(vcpu)
    preempt(vcpu, "injected")
    if vcpu.requests:
        if immediate_exit:
            vcpu.request(Req.EVENT)
        kvm_x86_ops.cancel_injection(vcpu)
        return Ran.AGAIN
    if immediate_exit:
        vcpu.request(Req.EVENT)
    vcpu.progressed = False
    kicked = preempt(vcpu, "entry")
    exit_reason = run_guest(vcpu, immediate_exit or kicked)
    kvm_x86_ops.complete_interrupts(vcpu)
    preempt(vcpu, "exit")
    ran = handle_exit(vcpu, exit_reason)
    preempt(vcpu, "handled")
    return ran


def handle_exit(vcpu: Vcpu, exit_reason: Exit) -> Ran:
    """What KVM does for each exit; to the host only for OUT and shutdown."""
    match exit_reason:
        case Exit.OUT:
            return Ran.EXITED
        case Exit.SHUTDOWN:
            vcpu.dead = "shutdown"
            kvm_x86_ops.triple_fault(vcpu)
            return Ran.EXITED
        case Exit.FAIL_ENTRY:
            kvm_x86_ops.fail_entry(vcpu)
            if vcpu.dead:
                return Ran.EXITED
        case Exit.EOI:
            apic_set_eoi(vcpu)
            vcpu.frames = (*vcpu.frames[:-1], Frame("iret", vcpu.frames[-1].rflags_if))
        case Exit.INSTRUCTION:
            op, vcpu.insn = vcpu.insn, ""
            emulate(vcpu, op)
            if vcpu.dead:
                return Ran.EXITED
        case _:
            pass
    return Ran.AGAIN


def emulate(vcpu: Vcpu, op: str) -> None:
    """Emulate a trapped instruction; the vendor's own are its `execute`."""
    match op:
        case "hlt":
            kvm_vcpu_halt(vcpu)
        case "icr":
            vcpu.sent = True
            if vcpu.step.to in (TO_SELF, TO_ALL, vcpu.step.on):
                apic_accept_irq(vcpu, Irq(vcpu.step.mode, vcpu.step.vector))
        case "rsm":
            em_rsm(vcpu)
        case _:
            kvm_x86_ops.execute(vcpu, op)


def spins(vcpu: Vcpu) -> bool:
    """Has KVM's loop come back to a state that it has been in? Call it once a turn."""
    vcpu.turns += 1
    if vcpu.turns <= TURNS_BEFORE_BUSY:
        return False
    if vcpu.turned is None:
        vcpu.turned = set()
    here = (vcpu.freeze(), len(vcpu.arrivals))
    if here in vcpu.turned:
        return True
    vcpu.turned.add(here)
    return False


def vcpu_run(vcpu: Vcpu) -> Ran:
    """Let the guest run, or wait, until KVM_RUN ends."""
    while not spins(vcpu):
        preempt(vcpu, "run-loop")
        running = kvm_vcpu_running(vcpu)
        preempt(vcpu, "running-checked")
        ran = vcpu_enter_guest(vcpu) if running else vcpu_block(vcpu)
        if ran is not Ran.AGAIN:
            return ran
    return Ran.BUSY


def kvm_arch_vcpu_ioctl_run(vcpu: Vcpu) -> Ran:
    """KVM_RUN. A vCPU that nobody has started waits for INIT or SIPI; then it is EAGAIN."""
    if vcpu.mp_state != Mp.UNINITIALIZED:
        return vcpu_run(vcpu)
    if spins(vcpu):
        return Ran.BUSY
    preempt(vcpu, "run-loop")
    if not kvm_vcpu_block(vcpu):
        return Ran.BLOCKED
    kvm_apic_accept_events(vcpu)
    return Ran.AGAIN


def host_runs(vcpu: Vcpu) -> Ran:
    """The host calls KVM_RUN, again after EAGAIN, until it exits, blocks or spins."""
    while (ran := kvm_arch_vcpu_ioctl_run(vcpu)) is Ran.AGAIN:
        pass
    return ran
