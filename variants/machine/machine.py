"""The machine: all vCPUs of a VM, one pure step at a time.

vCPUs touch each other only by interrupt messages, so a step is a function of the acting vCPU
alone (`step_vcpu`) followed by deliveries to the others. Everything goes through `step`, and
`step_vcpu` can be memoised under it.
"""

from collections.abc import Callable
from typing import NamedTuple

from variants.machine.ioctls import (
    kvm_arch_vcpu_ioctl_get_mpstate,
    kvm_arch_vcpu_ioctl_set_mpstate,
    kvm_vcpu_ioctl_x86_get_vcpu_events,
    save_restore,
)
from variants.machine.lapic import apic_accept_irq, kvm_inject_nmi
from variants.machine.observation import Observation
from variants.machine.ops import kvm_x86_ops
from variants.machine.run import Ran, host_runs
from variants.machine.step import IOCTL_OPS, TO_SELF, Step, targets
from variants.machine.vcpu import RESET_VECTOR, Irq, Mp, Req, Vcpu, VcpuState, thaw

Arrivals = tuple[tuple[str, Irq], ...]
"""Remote writes that land during a step: the preemption point and the message, in order."""


class State(NamedTuple):
    """A VM between two steps. `armed`: (target, point, message) of `at` writes yet to land."""

    vcpus: tuple[VcpuState, ...]
    armed: tuple[tuple[int, str, Irq], ...] = ()


class VcpuStep(NamedTuple):
    """What a step made of the acting vCPU; `sent` says that it wrote its ICR, `passed` which
    preemption points it passed, in order."""

    vcpu: VcpuState
    observation: Observation
    sent: bool
    passed: tuple[str, ...]


StepVcpu = Callable[[VcpuState, Step, Arrivals], VcpuStep]
Deliver = Callable[[VcpuState, Irq], VcpuState]


class Machine(NamedTuple):
    """The machine as a variant has it: `step_vcpu` and `deliver` linked, or memoised."""

    step_vcpu: StepVcpu
    deliver: Deliver


def initial_state(vcpus: int) -> State:
    """All vCPUs RUNNABLE in L1, vCPU 0 the BSP (VMX: outside VMX operation; SVM: GIF=1)."""
    return State(tuple(initial_vcpu(bsp=n == 0) for n in range(vcpus)))


def initial_vcpu(bsp: bool) -> VcpuState:
    """A vCPU of `initial_state`."""
    return Vcpu(bsp=bsp).freeze()


def step_vcpu(state: VcpuState, step: Step, arrivals: Arrivals) -> VcpuStep:
    """Let the vCPU `step.on`, now in `state`, take `step`, with `arrivals` landing inside.

    Runs as `variants.link` has linked it for a variant and a vendor.
    """
    vcpu = thaw(state)
    vcpu.step = step
    vcpu.arrivals = list(arrivals)
    latched_init, mp_state, outcome, vector = None, None, "ioctl", None
    if step.op in IOCTL_OPS:
        vcpu.executed = True
        match step.op:
            case "nmi":
                kvm_inject_nmi(vcpu)
            case "smi":
                vcpu.request(Req.SMI)
            case "get-mp-state":
                mp_state = kvm_arch_vcpu_ioctl_get_mpstate(vcpu).name
            case "set-mp-state":
                done = kvm_arch_vcpu_ioctl_set_mpstate(vcpu, Mp[step.mode])
                mp_state = step.mode if done else "EINVAL"
            case "get-vcpu-events":
                latched_init = kvm_vcpu_ioctl_x86_get_vcpu_events(vcpu).latched_init
            case _:
                vcpu = save_restore(vcpu)
                vcpu.executed = not vcpu.dead
                outcome = vcpu.dead or outcome
    elif vcpu.dead:
        outcome = vcpu.dead
    else:
        vcpu.insn = step.op
        outcome, vector = ended(vcpu, host_runs(vcpu))
    nested_exit = None
    if not vcpu.smm:
        nested_exit, vcpu.nested_exit = vcpu.nested_exit, None
    observation = Observation(
        on=step.on,
        outcome=outcome,
        executed=vcpu.executed,
        vector=vector,
        nested_exit=nested_exit,
        guest_mode=vcpu.guest_mode,
        gif=vcpu.gif if kvm_x86_ops.vendor == "svm" else None,
        vmxon=vcpu.vmxon or vcpu.smm_vmxon if kvm_x86_ops.vendor == "vmx" else None,
        smm=vcpu.smm,
        latched_init=latched_init,
        mp_state=mp_state,
        taken=tuple(vcpu.taken),
        woke=vcpu.woke,
        warn=vcpu.warn,
    )
    after = vcpu.freeze()
    for _, irq in vcpu.arrivals:
        after = deliver(after, irq)
    return VcpuStep(after, observation, vcpu.sent, tuple(vcpu.passed))


def ended(vcpu: Vcpu, ran: Ran) -> tuple[str, int | None]:
    """Outcome and start vector of a KVM_RUN. Start code reports itself once."""
    if ran is Ran.BLOCKED:
        return "blocked", None
    if ran is Ran.BUSY:
        return "busy", None
    if vcpu.dead:
        return vcpu.dead, None
    if vcpu.boot >= 0:
        boot, vcpu.boot = vcpu.boot, -1
        return ("bsp-reset", None) if boot == RESET_VECTOR else ("sipi", boot)
    if vcpu.smm:
        return "smm", None
    return ("l2" if vcpu.guest_mode else "l1"), None


def deliver(vcpu: VcpuState, irq: Irq) -> VcpuState:
    """`vcpu` after its local APIC has received `irq`."""
    working = thaw(vcpu)
    apic_accept_irq(working, irq)
    return working.freeze()


def step(machine: Machine, state: State, step: Step) -> tuple[State, Observation]:
    """Take `step`: a pure function of `state`.

    An ICR write with `at` is armed and lands in the target's next step. It lands at once when
    a step that is not such a write itself lets another vCPU act first.
    """
    vcpus = list(state.vcpus)
    arming = bool(step.at)
    arrivals: list[tuple[str, Irq]] = []
    armed: list[tuple[int, str, Irq]] = []
    for target, point, irq in state.armed:
        if target == step.on:
            arrivals.append((point, irq))
        elif arming:
            armed.append((target, point, irq))
        else:
            vcpus[target] = machine.deliver(vcpus[target], irq)
    result = machine.step_vcpu(vcpus[step.on], step, tuple(arrivals))
    vcpus[step.on] = result.vcpu
    if result.sent and step.to != TO_SELF:
        irq = Irq(step.mode, step.vector)
        for target in targets(step, len(vcpus)):
            if target == step.on:
                continue
            if arming:
                armed.append((target, step.at, irq))
            else:
                vcpus[target] = machine.deliver(vcpus[target], irq)
    return State(tuple(vcpus), tuple(armed)), result.observation
