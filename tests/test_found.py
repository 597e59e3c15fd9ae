"""docs/found.md: its schedules show what it says they do, where the model has the fault."""

from pathlib import Path

import pytest

from fuzz.compare.compared import compared
from fuzz.compare.traces import Trace, trace_of
from fuzz.judge.monitor import judge
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import Schedule
from variants.catalogue import choose

FOUND = Path(__file__).parent.parent / "docs" / "found"
BROKEN = {
    "svm-blocked-nmi-ends-hlt": "hlt-blocked",
    "svm-nmi-before-init-spins": "busy",
    "svm-nmi-in-wait-for-sipi-spins": "busy",
    "svm-rsm-to-hlt": "rsm-hlt",
    "svm-sipi-ends-hlt": "hlt-sipi",
    "vmx-blocked-nmi-ends-hlt": "hlt-blocked",
    "vmx-interrupt-exits-in-wait-for-sipi": "vmx-wfs-blocks",
    "vmx-nmi-exit-out-of-hlt": "vmx-exit-activity",
    "vmx-nmi-exits-in-wait-for-sipi": "vmx-wfs-blocks",
    "vmx-nmi-in-wait-for-sipi-spins": "busy",
    "vmx-rsm-to-hlt": "rsm-hlt",
    "vmx-sipi-ends-hlt": "hlt-sipi",
}
"""What `paolo`, which has it too, does in the last step: a rule that it breaks, or it spins."""
LATER = {"svm-smi-from-l2-clears-gif", "vmx-entry-into-hlt-with-init", "vmx-migrated-with-nmi"}
"""Not in Linux 5.10."""
OTHERWISE = {"vmx-get-mp-state-starts-l2": "vmx-init-wfs"}
"""What `paolo` does wrong there is something else: a rule that it breaks."""
NEVER_STARTS = {"svm-migrated-with-init-and-sipi", "vmx-migrated-with-init-and-sipi"}
"""The manuals allow it: the INIT may have been late, and the SIPI for nothing."""
NOT_MENDED = {"svm-rsm-to-hlt", "vmx-rsm-to-hlt"}


def traces(schedule: Schedule) -> dict[str, Trace]:
    """What `paolo` and the mended variant show."""
    subject = compared(schedule.vendor, choose("paolo", [str(FOUND / "mended.py")]))
    machines = zip(subject.names, subject.machines, strict=True)
    return {name: trace_of(machine, schedule) for name, machine in machines}


def last_step(name: str) -> dict[str, set[str]]:
    """The rules that `paolo` and the mended variant break in the last step, and if they spin."""
    schedule = read_schedule(str(FOUND / f"{name}.yaml"))
    found = {}
    for variant, trace in traces(schedule).items():
        rulings = list(judge(schedule, trace))
        assert all(step == len(trace) - 1 for step, _ in rulings)
        found[variant] = {ruling.rule for _, ruling in rulings}
        found[variant] |= {"busy"} if trace[-1].outcome == "busy" else set()
    return found


def test_every_schedule_is_looked_at() -> None:
    named = {*BROKEN, *LATER, *OTHERWISE, *NEVER_STARTS}
    assert {file.stem for file in FOUND.glob("*.yaml")} == named


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_there_and_the_change_heals_it(name: str) -> None:
    found = last_step(name)
    assert found["paolo"] == {BROKEN[name]}
    assert found["mended"] == (found["paolo"] if name in NOT_MENDED else set())


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_5_10_does_otherwise_is_wrong_too(name: str) -> None:
    schedule = read_schedule(str(FOUND / f"{name}.yaml"))
    (machine,) = compared(schedule.vendor, choose("paolo", [], least=1)).machines
    broken = {ruling.rule for _, ruling in judge(schedule, trace_of(machine, schedule))}
    assert broken == {OTHERWISE[name]}


@pytest.mark.parametrize("name", sorted(LATER))
def test_what_is_newer_is_not_there(name: str) -> None:
    assert last_step(name) == {"paolo": set(), "mended": set()}


@pytest.mark.parametrize("name", sorted(NEVER_STARTS))
def test_a_vcpu_that_is_migrated_starts_as_one_that_is_not(name: str) -> None:
    schedule = read_schedule(str(FOUND / f"{name}.yaml"))
    stays = schedule._replace(
        steps=tuple(step for step in schedule.steps if step.op != "save-restore")
    )
    found = {variant: trace[-1].outcome for variant, trace in traces(schedule).items()}
    assert {trace[-1].outcome for trace in traces(stays).values()} == {"sipi"}
    assert found == {"paolo": "blocked", "mended": "sipi"}
