"""Findings: divergences by cause, as a reviewer would discuss them."""

from pathlib import Path

import pytest

from bench.causes import CHANGES, loaded
from fuzz.compare.signature import Form, Signature
from fuzz.explore.exhaustive import better
from fuzz.findings.finding import Finding, grouped
from fuzz.report.replay import automaton_of
from fuzz.schedule.text import load
from tests.golden import CORPUS
from variants.catalogue import choose, load_file
from variants.machine.step import VENDORS
from variants.variant import Variant

VARIANTS = choose("", [])
AUTOMATA = {vendor: automaton_of(vendor, VARIANTS) for vendor in VENDORS}
PAOLO = ("original, yadong", "paolo")
NESTED = ("original", "yadong, paolo")
SHIPPED = {
    "rdmsr ia32-vmx-misc reads 0x100, not 0x0": NESTED,
    "SIPI kept in L1 and L2": PAOLO,
    "vmlaunch wait-for-sipi accepted": NESTED,
    "INIT and other events taken as a VM exit in L2": PAOLO,
    "INIT not blocked in L2": PAOLO,
    "SIPI kept in L2 (SVM: while L1 intercepts INIT)": ("original, paolo", "yadong"),
    "INIT kept in L2 before its first instruction": PAOLO,
    "SIPI dropped in L2": NESTED,
    "VM exit saves activity wait-for-sipi, not active, in L2 in wait-for-SIPI": PAOLO,
    "SIPI and INIT kept in L1 when landing inside kvm_apic_accept_events": PAOLO,
}
"""What there is to discuss about the three variants, in order: who is unlike whom."""


@pytest.fixture(scope="module")
def forms() -> list[Form]:
    """Every divergence class that the reproducers show, with the shortest schedule among them."""
    found: dict[Signature, Form] = {}
    for path in sorted((CORPUS / "golden").glob("*.yaml")):
        for form in shown(VARIANTS, path.read_text()):
            found[form.signature] = better(found.get(form.signature), form)
    return list(found.values())


@pytest.fixture(scope="module")
def findings(forms: list[Form]) -> list[Finding]:
    return grouped(VARIANTS, forms)


def test_the_causes_of_the_shipped_variants(findings: list[Finding]) -> None:
    told = {one.title: (", ".join(one.unlike), ", ".join(one.deviating)) for one in findings}
    assert list(told.items()) == list(SHIPPED.items())


def test_every_form_is_in_one_finding(forms: list[Form], findings: list[Finding]) -> None:
    assert sorted(str(one.signature) for found in findings for one in found.forms) == sorted(
        str(one.signature) for one in forms
    )


def test_the_first_form_shows_if_any_does(findings: list[Finding]) -> None:
    for found in findings:
        shows = [one for one in found.forms if one.divergence.kind != "latent"]
        assert not shows or found.forms[0] in shows


def test_the_functions_are_those_of_the_deviating_variants(findings: list[Finding]) -> None:
    for found in findings:
        for name in found.deviating:
            variant = next(one for one in VARIANTS if one.name == name)
            layers = [variant, *([variant.on] if variant.on else [])]
            replaced = {one.__name__ for layer in layers for one in layer.replacements}
            assert set(found.functions) <= replaced


KEPT = """format: 1
vendor: vmx
vcpus: 2
steps:
- vmxon: {on: 1}
- icr: {from: 0, to: 1, mode: sipi}
- nop: {on: 1}
- hlt: {on: 1}
"""
ASKED = """format: 1
vendor: vmx
vcpus: 2
steps:
- vmxon: {on: 1}
- set-mp-state: {on: 1, state: INIT_RECEIVED}
"""
WAITS = """format: 1
vendor: svm
vcpus: 2
steps:
- icr: {from: 1, to: 0, mode: init}
- nop: {on: 0}
"""


TOGETHER = """
from variants.machine import events, ioctls
from variants.machine.vcpu import Mp, Vcpu
from variants.variant import Variant, replaces


@replaces(events.kvm_vcpu_halt)
def kvm_vcpu_halt(vcpu: Vcpu) -> None:
    vcpu.mp_state = Mp.UNINITIALIZED


@replaces(ioctls.kvm_arch_vcpu_ioctl_get_mpstate)
def get_mpstate(vcpu: Vcpu) -> Mp:
    assert vcpu.mp_state != Mp.HALTED
    return Mp.SIPI_RECEIVED


VARIANT = Variant("mine", "mine", (kvm_vcpu_halt, get_mpstate))
"""


def shown(variants: tuple[Variant, ...], text: str) -> list[Form]:
    """The divergence classes of a schedule."""
    schedule = load(text)
    known = AUTOMATA if variants is VARIANTS else {}
    automaton = known.get(schedule.vendor) or automaton_of(schedule.vendor, variants)
    found = automaton.compare(schedule)
    return [Form(one, schedule._replace(steps=schedule.steps[: at + 1])) for at, one in found]


def test_two_changes_of_one_function_are_two_findings(tmp_path: Path) -> None:
    one, other = [n for n in CHANGES if n.function == "kvm_apic_accept_events"]
    variants = VARIANTS[0], loaded([one, other], tmp_path)
    found = grouped(variants, [*shown(variants, KEPT), *shown(variants, WAITS)])
    assert [finding.title for finding in found] == [
        "mp_state INIT_RECEIVED, not RUNNABLE, in L1",
        "SIPI kept in VMX root operation",
    ]
    assert {finding.functions for finding in found} == {("kvm_apic_accept_events",)}


def test_what_only_an_ioctl_answers_is_of_kvm_only(tmp_path: Path) -> None:
    change = next(one for one in CHANGES if one.function == "kvm_arch_vcpu_ioctl_set_mpstate")
    variants = VARIANTS[0], loaded([change], tmp_path)
    (found,) = grouped(variants, shown(variants, ASKED))
    what = "set-mp-state INIT_RECEIVED succeeds in VMX root operation"
    assert (found.title, found.ruling) == (what, "KVM only")


def test_code_that_raises_in_a_mixture_is_no_trouble(tmp_path: Path) -> None:
    """A variant may rely on two of its functions being replaced together."""
    own = tmp_path / "mine.py"
    own.write_text(TOGETHER)
    variants = VARIANTS[0], load_file(str(own))
    text = KEPT + "- get-mp-state: {on: 1}\n"
    assert grouped(variants, shown(variants, text)) != []
