"""Causes: what the seeds and a reproducer of every signature show is written down and stays so."""

import json

import pytest

from fuzz.cli.explore import alphabets
from fuzz.compare import cause
from fuzz.compare.cause import RULES, Question
from fuzz.compare.signature import Answer
from fuzz.explore.certificate import certificate
from fuzz.findings.known import read_known
from fuzz.schedule.schedule import Schedule
from tests.golden import CORPUS, FOLDERS, KNOWN, found, golden, schedule_of, shown
from variants.catalogue import choose
from variants.machine.step import Step, Vendor

CERTIFICATE = json.loads((CORPUS / "exhaustive.json").read_text())
TOLD = golden()
BY_RULE = {
    "the_step_itself": "vmx-visible-original-vs-yadong-and-paolo-rdmsr-ia32-vmx-misc-elsewhere",
    "a_calmer_question": (
        "svm-visible-original-and-paolo-vs-yadong-sipi-in-l2-init-intercepted-elsewhere"
    ),
    "a_race": "svm-visible-original-and-yadong-vs-paolo-race-with-init-at-get-mp-state-in-a-race",
    "an_event": "svm-latent-original-and-yadong-vs-paolo-sipi-in-l1-hidden-state",
}
"""For each rule a schedule in which it gives an answer."""
WFS = [
    Step("vmxon", 1),
    Step("vmlaunch", 1, mode="wait-for-sipi"),
    Step("icr", 0, 1, "init"),
]
HELD = [Step("clgi", 0), Step("icr", 0, 0, "init"), Step("vmrun", 0), Step("icr", 0, 0, "nmi")]
NAMED: tuple[tuple[Vendor, list[Step], str], ...] = (
    (
        "vmx",
        [*WFS, Step("get-mp-state", 1)],
        "visible: yadong | paolo: INIT in L2 WFS at get-mp-state: in L2 or not, "
        "WARN kvm_apic_accept_events",
    ),
    ("svm", HELD, "liveness: original+yadong | paolo: INIT at vmrun: one spins, another goes on"),
    (
        "svm",
        [Step("icr", 0, 1, "sipi"), Step("get-mp-state", 1)],
        "latent: original+yadong | paolo: SIPI in L1: hidden state",
    ),
)
"""What the names say: a reset beside a WARN, spinning, an ioctl only where it takes one."""


@pytest.mark.parametrize(("vendor", "steps", "name"), NAMED)
def test_names_say_what_happens(vendor: Vendor, steps: list[Step], name: str) -> None:
    assert (
        shown(Schedule(vendor, 2, tuple(steps)))[-1] == f"step {len(steps) - 1}: {vendor}: {name}"
    )


def test_every_schedule_of_the_corpus_is_told() -> None:
    there = {
        str(path.relative_to(CORPUS))
        for folder in FOLDERS
        for path in (CORPUS / folder).glob("*.yaml")
    }
    assert there == TOLD.keys()


@pytest.mark.parametrize("name", TOLD)
def test_causes_are_as_told(name: str) -> None:
    assert shown(schedule_of(name)) == TOLD[name]


def test_every_certified_signature_has_a_reproducer_of_its_length() -> None:
    for one in CERTIFICATE["signatures"]:
        last = f"step {one['length'] - 1}: {one['signature']}"
        assert any(last in lines for lines in TOLD.values())


def test_every_certified_signature_is_known() -> None:
    known = read_known(KNOWN)
    assert known == found()
    assert known.keys() == {one["signature"] for one in CERTIFICATE["signatures"]}


def test_the_certificate_is_of_this_code() -> None:
    """After a change of the machine, the variants or the naming: explore again, and take
    `certificate.json` for corpus/exhaustive.json once the differences are understood."""
    asked = {key: CERTIFICATE[key] for key in ("vendors", "steps", "races", "bound")}
    asked["variant_options"] = CERTIFICATE["variant_options"]
    explored = {
        vendor: alphabets(CERTIFICATE["steps"], vendor, CERTIFICATE["races"])
        for vendor in CERTIFICATE["vendors"]
    }
    named, *files = CERTIFICATE["variant_options"]
    claimed = certificate(choose(named, files), explored, asked)
    assert {key: CERTIFICATE[key] for key in claimed} == claimed


def test_each_rule_has_a_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(BY_RULE) == [rule.__name__ for rule in RULES]
    answered_by = cause.answered_by
    used: list[str] = []

    def noted(question: Question) -> tuple[str, Answer]:
        found = answered_by(question)
        used.append(found[0])
        return found

    monkeypatch.setattr(cause, "answered_by", noted)
    for rule, name in BY_RULE.items():
        used.clear()
        assert shown(schedule_of(f"golden/{name}.yaml"))
        assert rule in used
