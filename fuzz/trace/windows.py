"""Schedules cut out of the steps of a trace: around each INIT and SIPI, as a schedule has vCPUs.

A schedule begins in L1, with GIF=1 and outside VMX operation. Where a vCPU was elsewhere, what
brought it there comes first.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from fuzz.schedule.schedule import Schedule
from variants.machine.step import MAX_VCPUS, MIN_VCPUS, Step, Vendor

LONGEST: Final = 16
"""Steps of a schedule, at most."""
LEAD: Final = 5
"""Of them before the INIT or SIPI, at most, besides what brought vCPUs where they are."""
NEAR: Final = 1000
"""How many steps away others that have to do with it may be."""


class Standing(NamedTuple):
    """The steps that bring a vCPU where it is."""

    vmxon: Step | None = None
    clgi: Step | None = None
    entry: Step | None = None

    def after(self, step: Step) -> "Standing":
        """Where the vCPU is after its `step`."""
        match step.op:
            case "vmxon":
                return Standing(vmxon=step)
            case "vmxoff":
                return Standing()
            case "clgi":
                return self._replace(clgi=step)
            case "stgi":
                return self._replace(clgi=None)
            case "vmrun" | "vmlaunch":
                return self._replace(clgi=None, entry=step)
            case "vmcall":
                return self._replace(entry=None)
            case "vmmcall":
                # #VMEXIT clears GIF (APM vol. 2, 15.6).
                return Standing(clgi=Step("clgi", step.on))
        return self


History = Mapping[int, Sequence[tuple[int, Standing]]]
"""By vCPU: numbers of its steps, and where it is after each."""


class Window(NamedTuple):
    """standing: what brings vCPUs where they were when it begins. numbers: of its own steps."""

    standing: list[Step]
    numbers: list[int]


def schedules_in(steps: Sequence[Step], vendor: Vendor, name: str) -> tuple[list[Schedule], int]:
    """The schedules around each INIT and SIPI, no two the same; how many steps are in none. name:
    of the trace."""
    found: dict[tuple[int, tuple[Step, ...]], None] = {}
    taken: set[int] = set()
    for standing, numbers in windows(steps):
        found[renumbered([*standing, *(steps[number] for number in numbers)])] = None
        taken.update(numbers)
    about = f"From a trace of KVM, {name}."
    schedules = [
        Schedule(vendor, vcpus, own, f"{name}-{number}", about)
        for number, (vcpus, own) in enumerate(found, 1)
    ]
    return schedules, len(steps) - len(taken)


def windows(steps: Sequence[Step]) -> Iterator[Window]:
    """For each INIT and SIPI that none before has: steps of vCPUs that have to do with it."""
    history, covered = history_of(steps), set[int]()
    for number, step in enumerate(steps):
        if not wanted(step) or number in covered:
            continue
        vcpus = involved(steps[number : number + NEAR])
        near = range(max(0, number - NEAR), min(len(steps), number + NEAR))
        own = [at for at in near if among(steps[at], vcpus)]
        first = own.index(number)
        own = own[max(0, first - LEAD) :]
        standing = [one for vcpu in sorted(vcpus) for one in before(history, vcpu, own[0])]
        numbers = own[: LONGEST - len(standing)]
        covered.update(numbers)
        yield Window(standing, numbers)


def wanted(step: Step) -> bool:
    return step.mode in ("init", "sipi")


def involved(steps: Sequence[Step]) -> set[int]:
    """The vCPUs that the INITs and SIPIs among `steps` are about, the first ones first, as many as
    there may be. Any may get what is sent to all."""
    vcpus: set[int] = set()
    sent = [step for step in steps if wanted(step)]
    others = steps if any(step.to < 0 for step in sent) else ()
    named = [{step.on, step.to if step.to >= 0 else step.on} for step in sent]
    for own in [*named, *({step.on} for step in others)]:
        if len((vcpus | own) - {0}) < MAX_VCPUS:
            vcpus |= own
    return vcpus


def among(step: Step, vcpus: set[int]) -> bool:
    """Is it between these?"""
    return step.on in vcpus and (step.op != "icr" or step.to < 0 or step.to in vcpus)


def history_of(steps: Sequence[Step]) -> History:
    found: dict[int, list[tuple[int, Standing]]] = {}
    for number, step in enumerate(steps):
        own = found.setdefault(step.on, [(-1, Standing())])
        standing = own[-1][1].after(step)
        if standing != own[-1][1]:
            own.append((number, standing))
    return found


def before(history: History, vcpu: int, number: int) -> list[Step]:
    """What brought `vcpu` where it was before step `number`."""
    own = history.get(vcpu, ())
    at = bisect_left(own, number, key=lambda one: one[0])
    return [step for step in own[at - 1][1] if step] if own else []


def renumbered(steps: Sequence[Step]) -> tuple[int, tuple[Step, ...]]:
    """With vCPU 0, the BSP, as it is, and the others from 1 on; how many vCPUs that takes."""
    numbers = {step.on for step in steps} | {step.to for step in steps if step.op == "icr"}
    aps = sorted(number for number in numbers if number > 0)
    new = {0: 0, **{number: place for place, number in enumerate(aps, 1)}}
    own = (step._replace(on=new[step.on], to=new.get(step.to, step.to)) for step in steps)
    return max(MIN_VCPUS, len(aps) + 1), tuple(own)
