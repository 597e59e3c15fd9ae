"""A schedule as a story of one vCPU: what happens to it, and what each variant makes of it."""

from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

from fuzz.report.inside import EVENTS, Inside, all_inside
from fuzz.report.replay import Replay
from fuzz.report.words import STANDS, left, outcome, told, vcpu
from variants.machine.machine import initial_state
from variants.machine.observation import Observation
from variants.machine.step import IOCTL_OPS, TO_SELF, Step, targets

HOST: Final = "host"
"""Who acts in a step that is an ioctl."""
PART: Final = "the variants part here"
PARTED: Final = "parted here already"
RUNS_ON: Final = (STANDS["l1"], STANDS["l2"], STANDS["smm"])


class Moment(NamedTuple):
    """A step, as far as it concerns the vCPU.

    number, says: of the step. notes: what comes of it, most telling first. by: who acts, if not the
    vCPU itself. sends: what kind of event reaches it. lands: None; or if the message lands inside a
    later step, which. acted: the vCPU took the step, and if it executed it. before, after: what the
    model holds of it. spins: KVM spins. exits: L1 is shown a VM exit. parts: that variants part
    here, in words.
    """

    number: int
    says: str
    notes: tuple[str, ...]
    by: str
    sends: str
    lands: int | None
    acted: bool
    executed: bool
    before: Inside
    after: Inside
    spins: bool
    exits: bool
    parts: str


class Story(NamedTuple):
    """What some variants, which do the same throughout, make of a schedule. about: the vCPU."""

    variants: tuple[str, ...]
    about: int
    moments: tuple[Moment, ...]

    @property
    def senders(self) -> tuple[str, ...]:
        """Who else sends something to it, in order."""
        return tuple(dict.fromkeys(one.by for one in self.moments if one.sends))

    @property
    def pending(self) -> tuple[str, ...]:
        """The events that are ever pending."""
        ever = {event for one in self.moments for event in one.after.pending}
        return tuple(event for event in EVENTS if event in ever)

    @property
    def in_words(self) -> str:
        """All of it."""
        sentences = [
            f"{one.number}. {one.says}{': ' if one.notes else ''}{'; '.join(one.notes)}."
            + (f" ({one.parts.capitalize()}.)" if one.parts else "")
            for one in self.moments
        ]
        return " ".join(sentences)


def stories(result: Replay, at: int, groups: Sequence[Sequence[str]]) -> list[Story]:
    """A story for all variants that are on the same side and do the same throughout.

    at: the step in which the `groups` part. A variant in none of them had parted before.
    """
    compared = list(chain.from_iterable(groups))
    about = vcpu_of(result, at, compared)
    alike: dict[object, list[str]] = {}
    told_as = {}
    for name in result.traces:
        side = next((group for group in groups if name in group), ())
        parting = (at, PART) if side else (parted(result, name, compared[0]), PARTED)
        told_as[name] = moments(result, name, about, *parting)
        key = tuple(side), tuple(map(without_state, told_as[name]))
        alike.setdefault(key, []).append(name)
    return [Story(tuple(names), about, told_as[names[0]]) for names in alike.values()]


def without_state(moment: Moment) -> tuple[object, ...]:
    """What is told of a moment."""
    before, after = (one[:-1] for one in (moment.before, moment.after))
    return moment.notes, moment.acted, moment.executed, before, after


def vcpu_of(result: Replay, at: int, compared: Sequence[str]) -> int:
    """The vCPU on which the variants part: which acts in the step or, if they all show the same
    there, which they hold otherwise."""
    shown = {result.traces[name][at] for name in compared}
    ends = {result.held[name][at] for name in compared}
    if len(shown) > 1 or len(ends) == 1:
        return result.schedule.steps[at].on
    vcpus = range(result.schedule.vcpus)
    return next(n for n in vcpus if len({end[n] for end in ends}) > 1)


def parted(result: Replay, name: str, other: str) -> int:
    """Where two variants part."""
    pair = {name, other}
    return next(
        at
        for at, one in result.divergences
        if pair <= set(chain.from_iterable(one.groups))
        and not any(pair <= set(group) for group in one.groups)
    )


def moments(result: Replay, name: str, about: int, at: int, parts: str) -> tuple[Moment, ...]:
    """All steps in a variant. at, parts: in which to say that variants part, and how."""
    schedule = result.schedule
    found = []
    for number, (step, shown) in enumerate(zip(schedule.steps, result.traces[name], strict=True)):
        before, after = inside_at(result, name, number)[about], result.held[name][number][about]
        acted = step.on == about
        sent = shown.executed and reaches(step, about, schedule.vcpus)
        found.append(
            Moment(
                number=number,
                says=told(step),
                notes=notes(result, name, number, about, number == at),
                by=by(step, about),
                sends=step.mode if step.op == "icr" and sent else step.op if sent else "",
                lands=landing(schedule.steps, number, about) if step.at and sent else None,
                acted=acted,
                executed=shown.executed,
                before=before,
                after=after,
                spins=acted and shown.outcome == "busy",
                exits=acted and left_l2(shown),
                parts=parts if number == at else "",
            )
        )
    return tuple(found)


def left_l2(shown: Observation) -> bool:
    """Was there a VM exit, other than of an entry that fails?"""
    return shown.nested_exit is not None and "INVALID" not in shown.nested_exit.reason


def by(step: Step, about: int) -> str:
    """Who acts, if not vCPU `about` itself."""
    if step.op in IOCTL_OPS:
        return HOST
    return vcpu(step.on) if step.on != about else ""


def reaches(step: Step, about: int, vcpus: int) -> bool:
    """Does a step send something to vCPU `about`, other than by itself?"""
    if step.op != "icr":
        return step.op in ("nmi", "smi") and step.on == about
    return step.on != about and step.to != TO_SELF and about in targets(step, vcpus)


def landing(steps: Sequence[Step], number: int, about: int) -> int | None:
    """The step inside which a message lands that was sent with `at`: the vCPU's next, if no other
    comes between that is not such a write itself."""
    for later, step in enumerate(steps[number + 1 :], number + 1):
        if step.on == about:
            return later
        if not step.at:
            return None
    return None


def notes(result: Replay, name: str, number: int, about: int, parts: bool) -> tuple[str, ...]:
    """What comes of a step for vCPU `about`. That it runs on, and what is pending as before, is
    told only where variants part."""
    schedule = result.schedule
    step, shown = schedule.steps[number], result.traces[name][number]
    before, after = inside_at(result, name, number)[about], result.held[name][number][about]
    if step.on == about:
        usual = {*RUNS_ON, *(left(after) if after.pending == before.pending else ())}
        said = outcome(step, shown, before, after)
        return tuple(one for one in said if parts or one not in usual)
    if reaches(step, about, schedule.vcpus) and not shown.executed:
        return ("is not sent: it does not run",)
    if step.at and reaches(step, about, schedule.vcpus):
        later = landing(schedule.steps, number, about)
        return (f"lands inside step {later}, at {step.at}" if later else "lands after this",)
    return tuple(left(after)) if after.pending != before.pending else ()


def inside_at(result: Replay, name: str, number: int) -> tuple[Inside, ...]:
    """What the model holds of the vCPUs when a step begins."""
    if number:
        return result.held[name][number - 1]
    return all_inside(initial_state(result.schedule.vcpus))
