"""The judge: which rules a trace breaks.

It keeps, for each processor, the set of architectural states that fit what was shown so far. A
step moves the set, the observation filters it. When nothing allowed is left, what shows the step
with the fewest rules broken says which; the judge goes on from there. Processors meet only by
messages, and whether one was sent is shown, so each has a set of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from fuzz.judge import amd, intel
from fuzz.judge.rules import ORDER
from fuzz.judge.run import Bound, Message, Run, behaviours, idle, land
from fuzz.judge.sets import REMEMBERED, Fits, smallest
from fuzz.judge.states import (
    ANY_VECTOR,
    PRIORITY,
    RESET,
    WFS,
    Manual,
    Vcpu,
    force,
    may_receive,
    receive,
)
from fuzz.schedule.schedule import Schedule
from variants.machine.observation import Observation
from variants.machine.step import IOCTL_OPS, TO_ALL, Step, Vendor, targets

MANUALS: Final[dict[Vendor, Manual]] = {"svm": amd, "vmx": intel}
MOST_BROKEN: Final = 3
"""How many rules one step may break for the judge to say which."""


class Ruling(NamedTuple):
    """rule: its id. open: the host had put the processor where the manuals say nothing, so that
    this breaks no rule for certain. where: what the processor was doing."""

    rule: str
    open: bool
    where: str


class Judged(NamedTuple):
    """What is left after a step, and how the step is ruled."""

    fits: Fits
    rulings: tuple[Ruling, ...]


class Candidate(NamedTuple):
    """A behaviour that shows what was shown, from the state `before`; with the rules it breaks."""

    before: Vcpu
    after: Vcpu
    breaks: tuple[str, ...]


JudgeStep = Callable[[Vendor, Fits, Step, tuple[Message, ...], Observation], Judged]


def start(bsp: bool) -> Fits:
    """A processor where schedules begin."""
    return frozenset({Vcpu(bsp)})


def received(vendor: Vendor, fits: Fits, mode: str, vector: int, valid: bool = True) -> Fits:
    """After a message has come; or may have, if it is not `valid`."""
    come = receive if valid else may_receive
    manual = MANUALS[vendor]
    after = (one for vcpu in fits for one in come(manual, vcpu, mode, vector))
    return smallest(manual, after)


def judge_step(
    vendor: Vendor, fits: Fits, step: Step, landing: tuple[Message, ...], shown: Observation
) -> Judged:
    """Judge one step. landing: messages that came before, in or after it, nobody knows when."""
    alive = [vcpu for vcpu in fits if not vcpu.dead]
    if not alive or shown.outcome == "error":
        return Judged(frozenset(vcpu._replace(dead=True) for vcpu in fits), ())
    manual = MANUALS[vendor]
    for most in range(MOST_BROKEN + 1):
        bound = Bound(manual, most, lazy=shown.outcome == "busy")
        found = [
            one
            for vcpu in alive
            for one in candidates(bound, vcpu, step, landing, shown)
            if len(one.breaks) <= most
        ]
        if found:
            return ruled(manual, found, step.op)
    after = [Candidate(vcpu, resync(vcpu, shown), ("unexplained",)) for vcpu in alive]
    return ruled(manual, after, step.op)


def ruled(manual: Manual, found: Sequence[Candidate], op: str) -> Judged:
    """Go on from all of `found`; what is said is said of the one whose rules come first."""
    fits = smallest(manual, (one.after for one in found))
    if not all(one.breaks for one in found):
        return Judged(fits, ())
    told = min(found, key=telling)
    forced = any(one.before.forced for one in found)
    where = whereabouts(told.before)
    breaks = tuple(dict.fromkeys(lost_on_the_way(told.before, rule, op) for rule in told.breaks))
    return Judged(fits, tuple(Ruling(rule, forced, where) for rule in breaks))


def telling(one: Candidate) -> tuple[list[int], bool, str]:
    """What goes first is told."""
    where = whereabouts(one.before)
    return [ORDER[rule] for rule in one.breaks], one.before.migrated, where


def lost_on_the_way(before: Vcpu, rule: str, op: str) -> str:
    """What is missing or strange in the step after a migration is the migration's fault, and what
    RSM goes back to, if it was migrated meanwhile."""
    resumed = op == "rsm" and before.saved is not None and before.saved.migrated
    if rule.startswith(("hlt-", "rsm-", "sipi-kept")):
        return rule
    strange = rule.endswith(("-taken", "-starts", "-resets")) or rule == "unexplained"
    return "migration" if resumed or (before.migrated and strange) else rule


@lru_cache(REMEMBERED)
def candidates(
    bound: Bound, vcpu: Vcpu, step: Step, landing: tuple[Message, ...], shown: Observation
) -> tuple[Candidate, ...]:
    """The behaviours of `vcpu` in `step` that show what was shown."""
    return tuple(matching(bound, vcpu, step, landing, shown))


def matching(
    bound: Bound, vcpu: Vcpu, step: Step, landing: tuple[Message, ...], shown: Observation
) -> Iterator[Candidate]:
    for run in runs(bound, vcpu, step, landing, shown):
        more = differences(run, vcpu, shown)
        if more is None:
            continue
        yield Candidate(vcpu, seen(run.vcpu, shown), run.breaks + more)


def runs(
    bound: Bound, vcpu: Vcpu, step: Step, landing: tuple[Message, ...], shown: Observation
) -> Iterator[Run]:
    """What the step may do; what the host did in it is known."""
    if step.op not in IOCTL_OPS:
        yield from behaviours(bound, vcpu, step, landing)
        return
    sent = ((step.op, 0),) if step.op in ("nmi", "smi") else ()
    for before in land(bound.manual, vcpu, (*sent, *landing)):
        for run in idle(bound, before):
            yield run._replace(vcpu=acted_on(run.vcpu, step, shown))
    if landing:
        # Messages may also come after what the host does.
        for run in runs(bound, vcpu, step, (), shown):
            for after in land(bound.manual, run.vcpu, landing):
                yield run._replace(vcpu=after)


def acted_on(vcpu: Vcpu, step: Step, shown: Observation) -> Vcpu:
    """What the host does to it."""
    if step.op == "set-mp-state" and shown.mp_state != "EINVAL":
        return force(vcpu, step.mode)
    return moved(vcpu) if step.op == "save-restore" else vcpu


def moved(vcpu: Vcpu) -> Vcpu:
    """`vcpu` has been saved and restored, with what RSM goes back to."""
    saved = vcpu.saved and vcpu.saved._replace(migrated=True)
    return vcpu._replace(migrated=True, saved=saved)


def differences(run: Run, before: Vcpu, shown: Observation) -> tuple[str, ...] | None:
    """The rules broken where `run` differs from what was shown; None if it is something else."""
    vcpu, wrong = run.vcpu, []
    if shown.outcome not in ("ioctl", "busy"):
        if shown.outcome != outcome(vcpu):
            return None
        if shown.outcome == "sipi" and vcpu.boot not in (shown.vector, ANY_VECTOR):
            wrong.append("sipi-vector")
    if run.executed != shown.executed:
        return None
    if run.woke != shown.woke and not before.forced and not (run.woke and run.gone):
        return None
    if run.taken != shown.taken:
        if sorted(run.taken) != sorted(shown.taken):
            return None
        wrong.append("priority")
    if vcpu.dead:
        return tuple(wrong)
    if vcpu.smm or shown.smm:
        return tuple(wrong) if vcpu.smm and shown.smm else None
    if vcpu.l2 != shown.guest_mode:
        return None
    if shown.gif not in (None, vcpu.gif):
        wrong.append("svm-gif")
    if shown.vmxon not in (None, vcpu.vmx):
        wrong.append("vmx-operation")
    if (vcpu.exit and vcpu.exit.reason) != (shown.nested_exit and shown.nested_exit.reason):
        return None
    if vcpu.exit and shown.nested_exit and vcpu.exit.reason != "INVALID_STATE":
        if vcpu.exit.activity != shown.nested_exit.activity:
            wrong.append("vmx-exit-activity")
        if vcpu.exit.qualification not in (shown.nested_exit.qualification, ANY_VECTOR):
            wrong.append("vmx-exit-qualification")
    return tuple(wrong)


def outcome(vcpu: Vcpu) -> str:
    """How a step that ends in `vcpu` is told; docs/schedules.md has the words."""
    if vcpu.dead:
        return "shutdown"
    if vcpu.activity != "active":
        return "blocked"
    if vcpu.smm:
        return "smm"
    if vcpu.boot is not None:
        return "bsp-reset" if vcpu.boot == RESET else "sipi"
    return "l2" if vcpu.l2 else "l1"


def seen(vcpu: Vcpu, shown: Observation) -> Vcpu:
    """`vcpu` once the host has seen what it had to show; wrong flags as they are shown."""
    if vcpu.smm:
        return vcpu
    if shown.outcome in ("sipi", "bsp-reset"):
        vcpu = vcpu._replace(boot=None, apic=True, forced=False)
    gif = vcpu.gif if shown.gif is None else shown.gif
    vmx = vcpu.vmx if shown.vmxon is None else shown.vmxon
    return vcpu._replace(exit=None, gif=gif, vmx=vmx)


def resync(vcpu: Vcpu, shown: Observation) -> Vcpu:
    """As far as it is shown, where the processor is now that nothing explains; nothing pending is
    counted on."""
    waiting = "hlt" if vcpu.activity == "active" else vcpu.activity
    after = vcpu._replace(
        activity=waiting if shown.outcome == "blocked" else "active",
        smm=shown.smm,
        l2=shown.guest_mode and not shown.smm,
        saved=vcpu.saved or vcpu._replace(exit=None),
        overdue=frozenset(PRIORITY),
        migrated=False,
        boot=None,
        dead=shown.outcome == "shutdown",
    )
    return seen(after, shown)


def whereabouts(vcpu: Vcpu) -> str:
    """What the processor was doing, in few words and few kinds."""
    words = ["SMM" if vcpu.smm else "L2" if vcpu.l2 else "VMX root" if vcpu.vmx else "L1"]
    if not vcpu.gif and not vcpu.smm:
        words.append("GIF=0")
    if vcpu.activity != "active":
        words.append("HLT" if vcpu.activity == "hlt" else "WFS")
    if vcpu.activity == WFS and not vcpu.l2 and not vcpu.smm:
        return "WFS"
    return " ".join(words)


def judge(
    schedule: Schedule, trace: Sequence[Observation], judge_one: JudgeStep = judge_step
) -> Iterator[tuple[int, Ruling]]:
    """The rulings on `trace`, which a variant showed in `schedule`, with their step numbers.

    A trace that has broken off is judged as far as it goes.
    """
    vendor = schedule.vendor
    fits = [start(bsp=n == 0) for n in range(schedule.vcpus)]
    armed: list[tuple[int, Message]] = []
    for number, (step, shown) in enumerate(zip(schedule.steps, trace, strict=False)):
        landing = tuple(message for target, message in armed if target == step.on)
        waiting = [one for one in armed if one[0] != step.on]
        if not step.at:
            for target, message in waiting:
                fits[target] = received(vendor, fits[target], *message)
            waiting = []
        judged = judge_one(vendor, fits[step.on], step, landing, shown)
        fits[step.on] = judged.fits
        yield from ((number, ruling) for ruling in judged.rulings)
        if step.op == "icr" and shown.executed:
            valid = step.to != TO_ALL or step.mode == "fixed"
            for target in targets(step, schedule.vcpus):
                if target == step.on:
                    continue
                if step.at:
                    waiting.append((target, (step.mode, step.vector)))
                else:
                    came = received(vendor, fits[target], step.mode, step.vector, valid)
                    fits[target] = came
        armed = waiting
