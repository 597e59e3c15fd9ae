"""Who is right where variants part: findings, ruled by the judge."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from fuzz.compare.signature import Finding as Form
from fuzz.findings.finding import RANK, Finding, Ruling, order
from fuzz.judge.rules import BY_ID, Rule
from fuzz.memory.automaton import Automaton
from fuzz.report.replay import Replay, replay
from fuzz.report.rulings import verdicts
from variants.machine.step import Vendor

Broken = Mapping[str, tuple[str, ...]]
"""By variant that is compared to the end, the rules that it breaks where the variants part."""
DEFINITE: Final = ("regression", "fix", "both")
"""Rulings for which a rule can be named."""


class Ruled(NamedTuple):
    """A finding, and who is right.

    ruling: over all. form: the form that shows it best, with `result`, what it does; `broken` is
    what it breaks. by_vendor: the ruling on each, and what variants break there.
    """

    finding: Finding
    ruling: Ruling
    form: Form
    result: Replay
    broken: Broken
    by_vendor: Mapping[Vendor, tuple[Ruling, Broken]]

    @property
    def rule(self) -> Rule | None:
        """The rule that tells the sides apart, or that all break."""
        rules = list(chain.from_iterable(telling(self.broken).values()))
        rules += list(chain.from_iterable(self.broken.values()))
        return BY_ID[rules[0]] if rules else None

    @property
    def breaking(self) -> tuple[str, ...]:
        """The variants that break the rule."""
        rule = self.rule
        return tuple(name for name, some in self.broken.items() if rule and rule.id in some)


def ruled(
    automata: Mapping[Vendor, Automaton], base: str, findings: Sequence[Finding]
) -> list[Ruled]:
    """The findings in the order to read them in. base: the variant that the others change."""
    some = [rule_on(automata, base, finding) for finding in findings]
    return sorted(some, key=lambda one: (RANK.index(one.ruling), order(one.finding)))


def rule_on(automata: Mapping[Vendor, Automaton], base: str, finding: Finding) -> Ruled:
    """Ask the judge about each form: the first of which it says something tells, the best first."""
    judged: list[tuple[Form, Replay, Broken, Ruling]] = []
    for form in finding.forms:
        result = replay(automata[form.schedule.vendor], form.schedule)
        broken = broken_in(form, result)
        judged.append((form, result, broken, ruling_of(form, result, broken, base)))
    by_vendor = {}
    for vendor in finding.vendors:
        of_it = [one for one in judged if one[0].schedule.vendor == vendor]
        _, _, broken, ruling = min(of_it, key=lambda one: not_definite(one[3]))
        by_vendor[vendor] = (ruling, broken)
    form, result, broken, ruling = min(judged, key=lambda one: not_definite(one[3]))
    if finding.ruling == "KVM only" and ruling == "open":
        ruling = finding.ruling
    return Ruled(finding._replace(ruling=ruling), ruling, form, result, broken, by_vendor)


def not_definite(ruling: Ruling) -> bool:
    return ruling not in DEFINITE


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
