"""A schedule as a story of one vCPU: what happens to it, and what each variant makes of it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from fuzz.report.inside import EVENTS, Inside, all_inside
from fuzz.report.replay import Replay
from fuzz.report.words import lands, left, outcome, told, vcpu
from variants.machine.machine import initial_state
from variants.machine.observation import Observation
from variants.machine.step import IOCTL_OPS, TO_SELF, Step, targets

HOST: Final = "host"
"""Who acts in a step that is an ioctl."""


class Moment(NamedTuple):
    """A step, as far as it concerns the vCPU.

    number, says: of the step. notes: what comes of it, most telling first. by: who acts, if not the
    vCPU itself. sends: what kind of event reaches it. lands: None; or if the message lands inside a
    later step, which. acted: the vCPU took the step, and if it executed it. before, after: what the
    model holds of it. spins: KVM spins. exits: a VM exit to L1 was shown. parts: the variants part.
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
    parts: bool


class Story(NamedTuple):
    """What some variants, which do the same throughout, make of a schedule. about: the vCPU."""

    variants: tuple[str, ...]
    about: int
    moments: tuple[Moment, ...]

    @property
    def senders(self) -> tuple[str, ...]:
        """Who else acts, in order."""
        return tuple(dict.fromkeys(one.by for one in self.moments if one.by))

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
            + (" The variants part here." if one.parts else "")
            for one in self.moments
        ]
        return " ".join(sentences)


def stories(result: Replay, at: int, groups: Sequence[Sequence[str]]) -> list[Story]:
    """A story for all variants that are on the same side and do the same throughout.

    at: the step in which the `groups` part. A variant in none of them had parted before.
    """
    about = vcpu_of(result, at, [name for group in groups for name in group])
    alike: dict[object, list[str]] = {}
    told_as = {}
    for name in result.traces:
        side = next((group for group in groups if name in group), ())
        told_as[name] = moments(result, name, about, at)
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


def moments(result: Replay, name: str, about: int, at: int) -> tuple[Moment, ...]:
    """The steps in a variant. Those after the vCPU's last, or in which it has no part, too."""
    schedule = result.schedule
    held = [all_inside(initial_state(schedule.vcpus)), *result.held[name]]
    found = []
    for number, (step, shown) in enumerate(zip(schedule.steps, result.traces[name], strict=True)):
        before, after = held[number][about], held[number + 1][about]
        acted = step.on == about
        sent = reaches(step, about, schedule.vcpus)
        found.append(
            Moment(
                number=number,
                says=told(step),
                notes=notes(step, shown, before, after, acted),
                by=by(step, about),
                sends=step.mode if step.op == "icr" and sent else step.op if sent else "",
                lands=landing(schedule.steps, number, about) if step.at and sent else None,
                acted=acted,
                executed=shown.executed,
                before=before,
                after=after,
                spins=acted and shown.outcome == "busy",
                exits=acted and shown.nested_exit is not None,
                parts=number == at,
            )
        )
    return tuple(found)


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


def notes(
    step: Step, shown: Observation, before: Inside, after: Inside, acted: bool
) -> tuple[str, ...]:
    """What comes of a step for the vCPU."""
    if acted:
        return outcome(step, shown, before, after)
    if step.at:
        return (lands(step),)
    if after.pending != before.pending:
        return tuple(left(after))
    return ()
