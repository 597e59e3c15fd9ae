"""The judge: each rule, what must be seen of the shipped variants, and what is no breach."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings

from fuzz.campaign.judging import Breaking
from fuzz.compare.compared import compared
from fuzz.compare.traces import trace_of
from fuzz.explore.breaches import breaches
from fuzz.judge import monitor, run
from fuzz.judge.monitor import Ruling, judge
from fuzz.judge.rules import RULES
from fuzz.judge.states import Way
from fuzz.schedule.alphabet import usual_alphabets
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import load
from tests.rulings import CASES, Case, not_executed
from tests.strategies import schedules
from variants.catalogue import choose
from variants.machine.observation import Observation
from variants.machine.step import VENDORS, Vendor

ROOT = Path(__file__).parent.parent
SUBJECTS = {vendor: compared(vendor, choose("", [])) for vendor in VENDORS}
SEED_FILES = sorted((ROOT / "corpus/seeds").glob("*.yaml"))
IDS = [rule.id for rule in RULES]


def broken(schedule: Schedule, trace: Sequence[Observation]) -> list[tuple[int, str]]:
    """The rules that a trace breaks for certain, with their steps."""
    return [(step, ruling.rule) for step, ruling in judge(schedule, trace) if not ruling.open]


def all_broken(schedule: Schedule) -> dict[str, list[tuple[int, str]]]:
    """What each shipped variant's model breaks in `schedule`."""
    subject = SUBJECTS[schedule.vendor]
    return {
        name: broken(schedule, trace_of(machine, schedule))
        for name, machine in zip(subject.names, subject.machines, strict=True)
    }


def test_every_rule_has_a_case() -> None:
    assert CASES.keys() == set(IDS)


@pytest.mark.parametrize("rule", IDS)
def test_a_rule_is_broken_or_only_just_kept(rule: str) -> None:
    case = CASES[rule]
    last = len(case.before)
    assert broken(case.schedule, case.trace(case.breaks)) == [(last, rule)]
    assert broken(case.schedule, case.trace(case.keeps)) == []


def without(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take `rule` out of the judge: what it forbids is allowed."""
    follow, differences = run.follow, monitor.differences

    def lenient_follow(bound: run.Bound, before: run.Run, way: Way) -> object:
        kept = tuple(one for one in way.breaks if one != rule)
        return follow(bound, before, way._replace(breaks=kept))

    def lenient_differences(*arguments: object) -> tuple[str, ...] | None:
        found = differences(*arguments)  # type: ignore[arg-type]
        return found and tuple(one for one in found if one != rule)

    monkeypatch.setattr(run, "follow", lenient_follow)
    monkeypatch.setattr(monitor, "differences", lenient_differences)
    # What the whole rules say is remembered.
    monkeypatch.setattr(monitor, "candidates", monitor.candidates.__wrapped__)


@pytest.mark.parametrize("rule", sorted(set(IDS) - {"unexplained", "migration"}))
def test_a_rule_taken_out_is_missed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case: Case = CASES[rule]
    without(rule, monkeypatch)
    assert (len(case.before), rule) not in broken(case.schedule, case.trace(case.breaks))


def test_a_sipi_that_starts_l2_has_not_made_it_exit() -> None:
    """What KVM_GET_MP_STATE brings about in Linux 7.3: docs/found.md."""
    case = CASES["vmx-sipi-exit"]
    for guest_mode in (True, False):
        started = not_executed("sipi", vector=0x12, guest_mode=guest_mode, vmxon=True, gif=None)
        assert broken(case.schedule, case.trace(started)) == [(len(case.before), "vmx-sipi-exit")]


def by_all(*found: tuple[int, str]) -> dict[str, list[tuple[int, str]]]:
    return {name: list(found) for name in ("original", "yadong", "paolo")}


SEEDS: dict[str, dict[str, list[tuple[int, str]]]] = {
    # The claims of the mail: what the first patch does to SVM, and the reply to all.
    "svm-sipi-in-l2-then-hlt": {"yadong": [(3, "sipi-kept")]},
    "svm-sipi-in-l1-then-hlt": {"paolo": [(2, "sipi-kept")]},
    "vmx-sipi-in-l1-then-hlt": {"paolo": [(2, "sipi-kept")]},
    # Wait-for-SIPI in L2 is what both bring; the first patch saves the wrong activity state.
    "vmx-sipi-signal": {
        "original": [(5, "vmx-wfs-offered")],
        "yadong": [(7, "vmx-exit-activity")],
    },
    "vmx-yadong-procedure": {
        "original": [(1, "vmx-wfs-offered")],
        "yadong": [(7, "vmx-exit-activity")],
    },
    # What none of them mends.
    "svm-init-intercept": by_all((4, "svm-init-stgi")),
    "svm-init-latched-gif0": by_all((3, "svm-init-stgi")),
    "vmx-init-signal": by_all((3, "vmx-init-entry")),
    "vmx-init-latched-vmxoff": by_all((3, "hlt-init")),
    "svm-init-latched-vmrun": {},
    "svm-init-startup": {},
    "svm-mp-init": {},
    "vmx-mp-init": {},
}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "corpus/seeds").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_seeds_are_ruled(path: Path) -> None:
    found = all_broken(load(path.read_text(), path.stem))
    assert {name: some for name, some in found.items() if some} == SEEDS[path.stem]


@pytest.mark.parametrize("vendor", VENDORS)
def test_exploring_finds_what_each_variant_breaks(vendor: Vendor) -> None:
    alphabet = usual_alphabets(vendor, races=False)[:1]
    found: dict[str, set[str]] = {}
    for variant in choose("", []):
        subject = compared(vendor, [variant])
        explored = breaches(subject, alphabet, 4, lambda *_: None)
        found[variant.name] = {breach.rule for breach in explored.found}
        machine = subject.machines[0]
        for breach, schedule in explored.found.items():
            last = (len(schedule.steps) - 1, breach.rule)
            assert last in broken(schedule, trace_of(machine, schedule))
    late = {"svm-init-stgi"} if vendor == "svm" else {"vmx-init-entry"}
    everyone = {"hlt-sipi", "hlt-init", *late}
    assert all(everyone <= some for some in found.values())
    assert "sipi-kept" not in found["original"]
    assert "sipi-kept" in found["paolo"]
    if vendor == "svm":
        assert found["yadong"] == found["original"] | {"sipi-kept"}
    else:
        assert found["original"] - found["paolo"] == {"vmx-wfs-offered"}
        assert "vmx-exit-activity" in found["yadong"] - found["paolo"]


@settings(max_examples=150, deadline=None)
@given(schedules())
def test_models_do_nothing_that_no_rule_explains(schedule: Schedule) -> None:
    ruled: dict[str, list[tuple[int, Ruling]]] = {}
    subject = SUBJECTS[schedule.vendor]
    for name, machine in zip(subject.names, subject.machines, strict=True):
        ruled[name] = list(judge(schedule, trace_of(machine, schedule)))
    certain = [one for some in ruled.values() for _, one in some if not one.open]
    assert "unexplained" not in {one.rule for one in certain}


def rulings_of_all(schedule: Schedule) -> list[list[tuple[int, Ruling]]]:
    machines = SUBJECTS[schedule.vendor].machines
    return [list(judge(schedule, trace_of(machine, schedule))) for machine in machines]


@settings(max_examples=150, deadline=None)
@given(schedules())
def test_what_others_stand_for_changes_no_ruling(schedule: Schedule) -> None:
    smaller = rulings_of_all(schedule)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitor, "smallest", lambda _, vcpus: frozenset(vcpus))
        assert rulings_of_all(schedule) == smaller


def test_the_rules_are_listed() -> None:
    text = (ROOT / "docs/rules.md").read_text()
    listed = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert listed == [(rule.id, rule.says, rule.citation) for rule in RULES]


def test_campaigns_keep_the_smallest_schedule_of_a_breach() -> None:
    breaking = Breaking(SUBJECTS)
    seed = load((ROOT / "corpus/seeds/svm-sipi-in-l2-then-hlt.yaml").read_text())
    breaking.take(seed)
    ((breach, schedule),) = breaking.found.items()
    assert str(breach) == "svm: breach: yadong: sipi-kept: L2"
    assert [step.op for step in schedule.steps] == ["vmrun", "icr", "hlt"]
