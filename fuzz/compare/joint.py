"""One vCPU under all compared variants at once, until they can be told apart.

Variants start in one group. After each step a group whose members observed different things
splits, and each split is a divergence. A variant that is alone in its group is no longer
followed, so the joint state holds only what later divergences depend on.

vCPUs meet only by interrupt messages, so the joint state of a VM is that of each of its vCPUs,
and all they share is who is still compared with whom (`groups`). What one vCPU does is a
function of its own joint state: there are far fewer of these than joint states of VMs, and
`fuzz.memory.automaton` and `fuzz.explore.exhaustive` live on that.

For two variants of a group in which a vCPU has come to differ inside, its joint state remembers
the cause of the step that did it. That is what a reviewer would discuss, however many steps later
it shows.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

from fuzz.compare.cause import Question, answer, arrived, own_answer
from fuzz.compare.compared import Compared, Group
from fuzz.compare.signature import ELSEWHERE, Answer, Cause, Divergence, latent, visible
from variants.machine.machine import Arrivals, initial_vcpu
from variants.machine.observation import Observation
from variants.machine.step import Step
from variants.machine.vcpu import Irq, VcpuState

T = TypeVar("T")


class Unequal(NamedTuple):
    """Two variants of one group, i < j, in which the vCPU differs inside, and why."""

    i: int
    j: int
    cause: Cause

    @property
    def pair(self) -> tuple[int, int]:
        return self.i, self.j


class JointVcpu(NamedTuple):
    """groups: those with two members or more, in order. vcpus: one per variant, None once it is
    alone. unequal: what differs inside within a group. arrivals: per variant, the armed `at` writes
    that land in this vCPU's next step."""

    groups: tuple[Group, ...]
    vcpus: tuple[VcpuState | None, ...]
    unequal: tuple[Unequal, ...]
    arrivals: tuple[Arrivals, ...]

    def vcpu(self, member: int) -> VcpuState:
        """The vCPU of a variant that is still compared."""
        state = self.vcpus[member]
        assert state is not None
        return state


class Taken(NamedTuple):
    """What a step made of the vCPU that took it. senders: the variants that wrote the ICR."""

    after: JointVcpu
    divergences: tuple[Divergence, ...]
    senders: Group


def start(compared: Compared, bsp: bool) -> JointVcpu:
    """All variants in one group, the vCPU in the machine's initial state."""
    count = len(compared.names)
    groups = (tuple(range(count)),) if count > 1 else ()
    return regroup(JointVcpu(groups, (initial_vcpu(bsp),) * count, (), ((),) * count), groups)


def take(compared: Compared, before: JointVcpu, step: Step) -> Taken:
    """Let every variant that is still compared take `step`, an `own_part`."""
    vcpus: list[VcpuState | None] = [None] * len(before.vcpus)
    observed: dict[int, Observation] = {}
    senders = []
    for member in (member for group in before.groups for member in group):
        step_vcpu = compared.machines[member].step_vcpu
        done = step_vcpu(before.vcpu(member), step, before.arrivals[member])
        vcpus[member], observed[member] = done.vcpu, done.observation
        if done.sent:
            senders.append(member)

    def question(i: int, j: int, of: int) -> Question:
        return Question(compared, i, j, before.vcpu(of), step, before.arrivals[of])

    known = {one.pair: one.cause for one in before.unequal}
    groups: list[Group] = []
    divergences = []
    unequal = []
    for group in before.groups:
        parts = parted(group, observed.__getitem__)
        if len(parts) > 1:
            i, j = parts[0][0], parts[1][0]
            own = own_answer(question(i, j, of=i), question(i, j, of=j))
            why = own or Answer(known[i, j], ELSEWHERE)
            divergences.append(visible(compared, parts, why, observed))
        for part in parts:
            if len(part) > 1:
                groups.append(part)
            for i, j in combinations(part, 2):
                if vcpus[i] != vcpus[j]:
                    cause = known.get((i, j)) or answer(question(i, j, of=i)).cause
                    unequal.append(Unequal(i, j, cause))
    after = JointVcpu(tuple(groups), tuple(vcpus), tuple(unequal), ((),) * len(vcpus))
    if divergences:
        after = regroup(after, after.groups)
    return Taken(after, tuple(divergences), tuple(senders))


def parted(group: Iterable[T], key: Callable[[T], object]) -> list[tuple[T, ...]]:
    """The members of `group` by `key`, in order of their first member."""
    parts: dict[object, list[T]] = {}
    for member in group:
        parts.setdefault(key(member), []).append(member)
    return [tuple(part) for part in parts.values()]


def receive(
    compared: Compared, before: JointVcpu, members: Group, point: str, irq: Irq
) -> JointVcpu:
    """A message reaches the vCPU in the variants `members`; with a `point` it is armed."""
    if point:
        arrivals = list(before.arrivals)
        for member in members:
            if before.vcpus[member] is not None:
                arrivals[member] += ((point, irq),)
        return before._replace(arrivals=tuple(arrivals))
    vcpus = list(before.vcpus)
    for member in members:
        vcpu = vcpus[member]
        if vcpu is not None:
            vcpus[member] = compared.machines[member].deliver(vcpu, irq)
    known = {one.pair: one.cause for one in before.unequal}
    unequal = []
    for i, j in (pair for group in before.groups for pair in combinations(group, 2)):
        if vcpus[i] != vcpus[j]:
            cause = known.get((i, j)) or arrived(compared, i, j, before.vcpu(i), irq)
            unequal.append(Unequal(i, j, cause))
    return before._replace(vcpus=tuple(vcpus), unequal=tuple(unequal))


def settle(compared: Compared, before: JointVcpu) -> JointVcpu:
    """What has been armed reaches the vCPU, as another one acts first."""
    after = before._replace(arrivals=((),) * len(before.arrivals))
    for arrivals in dict.fromkeys(before.arrivals):
        members = tuple(n for n, armed in enumerate(before.arrivals) if armed == arrivals)
        for _, irq in arrivals:
            after = receive(compared, after, members, "", irq)
    return after


def regroup(before: JointVcpu, groups: tuple[Group, ...]) -> JointVcpu:
    """The vCPU once only the members of each of `groups` are compared with each other."""
    where = {member: group for group in groups for member in group}
    return JointVcpu(
        groups,
        tuple(vcpu if n in where else None for n, vcpu in enumerate(before.vcpus)),
        tuple(one for one in before.unequal if where.get(one.i, ()) == where.get(one.j)),
        tuple(some if n in where else () for n, some in enumerate(before.arrivals)),
    )


def latents(compared: Compared, vm: Sequence[JointVcpu]) -> tuple[Divergence, ...]:
    """The groups whose members showed the same throughout and differ inside at the end."""
    divergences = []
    causes = {one.pair: one.cause for vcpu in reversed(vm) for one in vcpu.unequal}
    if not causes:
        return ()
    for group in vm[0].groups:
        parts = parted(group, lambda member: tuple(vcpu.vcpus[member] for vcpu in vm))
        if len(parts) > 1:
            cause = causes[parts[0][0], parts[1][0]]
            divergences.append(latent(compared, parts, cause))
    return tuple(divergences)
