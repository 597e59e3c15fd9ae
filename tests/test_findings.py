"""Findings: divergences by cause, as a reviewer would discuss them."""

import pytest

from fuzz.compare.signature import Form
from fuzz.findings.finding import Finding, grouped
from fuzz.report.folder import slug
from fuzz.report.replay import automaton_of
from tests.golden import CORPUS, schedule_of
from variants.catalogue import choose
from variants.machine.step import VENDORS

VARIANTS = choose("", [])
AUTOMATA = {vendor: automaton_of(vendor, VARIANTS) for vendor in VENDORS}
PAOLO = ("original, yadong", "paolo")
NESTED = ("original", "yadong, paolo")
SHIPPED = {
    "rdmsr ia32-vmx-misc reads 0x100, not 0x0": NESTED,
    "SIPI kept in L1 and L2": PAOLO,
    "vmlaunch wait-for-sipi accepted": NESTED,
    "SIPI kept in L2 (SVM: while L1 intercepts INIT)": ("original, paolo", "yadong"),
    "INIT kept in L2 before its first instruction": PAOLO,
    "SIPI dropped in L2": NESTED,
    "VM exit saves activity wait-for-sipi, not active, in L2 in wait-for-SIPI": PAOLO,
    "SIPI and INIT kept in L1 when landing inside kvm_apic_accept_events": PAOLO,
    "INIT and other events taken as a VM exit in L2 by get-mp-state and save-restore": PAOLO,
    "INIT not blocked in L2": PAOLO,
}
"""What there is to discuss about the three variants, in order: who is unlike whom."""


def form(name: str) -> Form:
    """The divergence class that the reproducer `name` is for."""
    schedule = schedule_of(f"golden/{name}.yaml")
    found = [one for _, one in AUTOMATA[schedule.vendor].compare(schedule)]
    return Form(next(one for one in found if slug(one.signature) == name), schedule)


@pytest.fixture(scope="module")
def forms() -> list[Form]:
    """Every divergence class there is."""
    return [form(path.stem) for path in sorted((CORPUS / "golden").glob("*.yaml"))]


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
