"""Who is right where variants part: findings, ruled by the judge."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final, NamedTuple

from fuzz.compare.signature import Form
from fuzz.findings.finding import RANK, Finding, Ruling, order
from fuzz.judge.rules import BY_ID, Rule
from fuzz.memory.automaton import Automaton
from fuzz.report.replay import Replay, replay
from fuzz.report.rulings import verdicts
from variants.machine.step import Vendor

Broken = Mapping[str, tuple[str, ...]]
"""By variant that is compared to the end, the rules that it breaks where the variants part."""
MOST_FORMS: Final = 1024
"""Answers that are remembered, for a campaign asks again with each new form."""
DEFINITE: Final = ("regression", "fix", "both")
"""Rulings for which a rule can be named."""


class Judged(NamedTuple):
    """A form of a finding, and what the judge says of it. result: what it does. broken: by whom."""

    form: Form
    result: Replay
    broken: Broken
    ruling: Ruling

    @property
    def rule(self) -> Rule | None:
        """The rule that tells the sides apart, or that all break."""
        apart = chain.from_iterable(telling(self.broken).values())
        rules = [*apart, *chain.from_iterable(self.broken.values())]
        return BY_ID[rules[0]] if rules else None

    @property
    def charge(self) -> object:
        """Who breaks what, and where."""
        return self.form.schedule.vendor, self.rule, self.breaking

    @property
    def breaking(self) -> tuple[str, ...]:
        """The variants that break the rule."""
        rule = self.rule
        return tuple(name for name, some in self.broken.items() if rule and rule.id in some)


class Ruled(NamedTuple):
    """A finding, and who is right.

    ruling: over all. best: of all forms the one that tells it, or else the best to read. by_vendor:
    the same on each. judged: all forms.
    """

    finding: Finding
    ruling: Ruling
    best: Judged
    by_vendor: Mapping[Vendor, Judged]
    judged: tuple[Judged, ...]


def ruled(
    automata: Mapping[Vendor, Automaton], base: str, findings: Sequence[Finding]
) -> list[Ruled]:
    """The findings in the order to read them in. base: the variant that the others change."""
    judged = [
        tuple(judge_form(automata[form.schedule.vendor], base, form) for form in finding.forms)
        for finding in findings
    ]
    shortest: dict[object, int] = {}
    for one in chain.from_iterable(judged):
        length = len(one.form.schedule.steps)
        shortest[one.charge] = min(shortest.get(one.charge, length), length)
    own = [tuple(telling_first(some, shortest)) for some in judged]
    some = [
        rule_on(finding, those, every)
        for finding, those, every in zip(findings, own, judged, strict=True)
    ]
    return sorted(some, key=lambda one: (RANK.index(one.ruling), order(one.finding)))


def telling_first(judged: Sequence[Judged], shortest: Mapping[object, int]) -> list[Judged]:
    """The forms of a finding that may say who is right, the best first: on each vendor the best to
    read, and those that show a charge for the first time.

    shortest: the steps that a charge takes in any finding. What takes longer here may well be
    another finding's doing, which the schedule also runs into.
    """
    plainest = {one.form.schedule.vendor: one for one in reversed(judged)}
    return [
        one
        for one in judged
        if one is plainest[one.form.schedule.vendor]
        or len(one.form.schedule.steps) == shortest[one.charge]
    ]


def rule_on(finding: Finding, own: Sequence[Judged], judged: tuple[Judged, ...]) -> Ruled:
    """The first form of `own` of which the judge says something tells who is right."""
    best = min(own, key=not_definite)
    by_vendor = {
        vendor: min((one for one in own if one.form.schedule.vendor == vendor), key=not_definite)
        for vendor in finding.vendors
    }
    ruling = best.ruling
    if finding.ruling == "KVM only" and ruling == "open":
        ruling = finding.ruling
    return Ruled(finding._replace(ruling=ruling), ruling, best, by_vendor, judged)


@lru_cache(maxsize=MOST_FORMS)
def judge_form(automaton: Automaton, base: str, form: Form) -> Judged:
    result = replay(automaton, form.schedule)
    broken = broken_in(form, result)
    return Judged(form, result, broken, ruling_of(form, result, broken, base))


def not_definite(judged: Judged) -> bool:
    return judged.ruling not in DEFINITE


def step_of(form: Form, result: Replay) -> int:
    """Where the variants part."""
    return next(at for at, one in result.divergences if one.signature == form.signature)


def broken_in(form: Form, result: Replay) -> Broken:
    """What the judge says of the step in which the variants part."""
    at = step_of(form, result)
    compared = [name for group in form.divergence.groups for name in group]
    found = verdicts(form.schedule, {name: result.traces[name] for name in compared})
    return {
        name: tuple(one.rule for step, one in said.rulings if step == at and not one.open)
        for name, said in found.items()
    }


def telling(broken: Broken) -> dict[str, list[str]]:
    """The rules that not all break, by variant."""
    common = set.intersection(*map(set, broken.values()))
    return {name: [rule for rule in some if rule not in common] for name, some in broken.items()}


def ruling_of(form: Form, result: Replay, broken: Broken, base: str) -> Ruling:
    """Who is right. A base that parted earlier has nothing to do with it, and keeps the rule."""
    own = {name for name, some in telling(broken).items() if some}
    if base in own:
        return "both" if len(own) > len(side_of(form, base)) else "fix"
    if own:
        return "regression"
    if any(broken.values()):
        return "both"
    at = step_of(form, result)
    shown = {result.traces[group[0]][at] for group in form.divergence.groups}
    of_kvm = {(one.outcome == "busy", one.warn) for one in shown}
    return "KVM only" if len(of_kvm) > 1 else "open"


def side_of(form: Form, name: str) -> tuple[str, ...]:
    """The variants that do as `name` does."""
    return next(group for group in form.divergence.groups if name in group)


def lead(judged: Judged, ruling: Ruling) -> str:
    """Who is right, in a sentence that the rule completes, if there is one."""
    breaking = listed(judged.breaking, "break")
    keeping = [name for name in judged.broken if name not in judged.breaking]
    match ruling:
        case "regression":
            return f"{breaking} what {listed(keeping, 'keep')}:"
        case "fix":
            return f"{listed(keeping, 'mend')} what {breaking}:"
        case "both":
            return f"{breaking} a rule here:"
        case "open" if judged.form.divergence.kind == "latent":
            return "Nothing shows so far: they differ inside."
        case "open":
            return "The manuals do not say who is right: either is allowed."
    return "No manual speaks of this: it is KVM's own (a WARN, spinning, what an ioctl answers)."


def listed(names: Sequence[str], verb: str) -> str:
    """`a and b break`, `a breaks`."""
    return f"{' and '.join(names)} {verb}{'s' if len(names) == 1 else ''}"
