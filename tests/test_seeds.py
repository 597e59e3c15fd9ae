"""What the 5.10 source says of each seed, variant by variant, with the reasoning."""

from pathlib import Path

import pytest

from fuzz.report.replay import automaton_of, replay
from fuzz.report.trace import short
from fuzz.schedule.text import load
from variants.catalogue import choose

SEEDS = Path(__file__).parent.parent / "corpus" / "seeds"
ALL = ("original", "yadong", "paolo")

Expectation = dict[tuple[str, ...], list[str]]
"""For variants that agree: each step's observation as `fuzz.report.short` puts it."""

STARTED = "sipi 0x9a not-executed"
"""The AP runs start code and reports its vector; the step's instruction is gone."""
WAITS = "blocked not-executed"

# INIT resets the AP to wait-for-SIPI, where KVM_RUN blocks. A level de-assert is ignored by
# __apic_accept_irq. The first SIPI starts the AP. original and yadong drop the second; paolo
# leaves it pending, but a vCPU that does not halt never looks at it.
MP_INIT: Expectation = {ALL: ["l1", WAITS, "l1", "l1", STARTED, "l1", "l1"]}

# The nop lets KVM take the SIPI. original and yadong exchange pending_events with 0 and so drop
# it outside WFS. paolo clears it only on delivery: kvm_vcpu_has_events stays true, HLT wakes.
SIPI_IN_L1: Expectation = {
    ("original", "yadong"): ["l1", "l1", "blocked"],
    ("paolo",): ["l1", "l1", "l1 woke"],
}

EXPECTED: dict[str, Expectation] = {
    "svm-mp-init": MP_INIT,
    "vmx-mp-init": MP_INIT,
    "svm-sipi-in-l1-then-hlt": SIPI_IN_L1,
    "vmx-sipi-in-l1-then-hlt": SIPI_IN_L1,
    # The vmcb02 intercepts INIT, so events are latched: SIPI is dropped, except by yadong in
    # guest mode. On SVM nothing consumes it later, and HLT in L2 wakes for ever.
    "svm-sipi-in-l2-then-hlt": {
        ("original", "paolo"): ["l2", "l1", "l2", "blocked"],
        ("yadong",): ["l2", "l1", "l2", "l2 woke"],
    },
    # Not intercepted: check_nested_events looks at INIT and lets it be, accept_events resets the
    # vCPU out of guest mode (hflags := 0) and takes the SIPI with it. SVME=0 makes GIF=1.
    "svm-init-startup": {ALL: ["l2", "l1", "l1", STARTED, "l1"]},
    # Intercepted: VMEXIT_INIT with INIT still pending, held by the GIF=0 of #VMEXIT. STGI raises
    # no KVM_REQ_EVENT for INIT; HLT ends in vcpu_block, where accept_events resets the AP.
    "svm-init-intercept": {
        ALL: ["l2", "l1", "l1 exit VMEXIT_INIT not-executed GIF=0", "l1 GIF=0", "l1", "blocked"]
    },
    "svm-init-latched-gif0": {
        ALL: ["l1 GIF=0", "l1", "l1 GIF=0", "l1", "l1", "blocked", "l1", STARTED]
    },
    # VMRUN sets GIF and, by way of RFLAGS, KVM_REQ_EVENT. original and yadong reset with
    # nested_run_pending still set; paolo waits for the run, then resets. Both then look alike.
    "svm-init-latched-vmrun": {ALL: ["l1 GIF=0", "l1", "l1 GIF=0", "blocked", "l1", STARTED]},
    # original does not advertise wait-for-SIPI and fails the entry with it; its SIPI is dropped
    # in root. yadong and paolo block, exit with the vector, and drop the second SIPI in root.
    # Only paolo saves the activity state.
    "vmx-yadong-procedure": {
        ("original",): [
            *("l1", "l1 rdmsr:0x0", "l2", "l1", "l1 exit INIT_SIGNAL not-executed"),
            *("l1 exit INVALID_STATE (saved wait-for-sipi)", "l1", "l1", "l1", "l1", "l2", "l2"),
        ],
        ("yadong",): [
            *("l1", "l1 rdmsr:0x100", "l2", "l1", "l1 exit INIT_SIGNAL not-executed"),
            *("blocked", "l1", "l1 exit SIPI_SIGNAL 0x9a not-executed"),
            *("l1", "l1", "l2", "l2"),
        ],
        ("paolo",): [
            *("l1", "l1 rdmsr:0x100", "l2", "l1", "l1 exit INIT_SIGNAL not-executed"),
            *("blocked", "l1", "l1 exit SIPI_SIGNAL 0x9a (saved wait-for-sipi) not-executed"),
            *("l1", "l1", "l2", "l2"),
        ],
    },
    # VM entry does not look at a latched INIT (no KVM_REQ_EVENT, nested_run_pending), so the
    # exit comes with the next entry. The INIT is consumed by it. VMXOFF always looks.
    "vmx-init-signal": {
        ALL: [
            *("l1", "l1", "l1", "l2", "l1 exit INIT_SIGNAL not-executed"),
            *("l1", "l1", "blocked", "l1", STARTED),
        ]
    },
    # A SIPI to an active L2 is dropped. In wait-for-SIPI it exits, where there is such a state.
    "vmx-sipi-signal": {
        ("original",): [
            *("l1", "l2", "l1", "l2", "l1 exit VMCALL"),
            *("l1 exit INVALID_STATE (saved wait-for-sipi)", "l1", "l1", "l1"),
        ],
        ("yadong",): [
            *("l1", "l2", "l1", "l2", "l1 exit VMCALL", "blocked", "l1"),
            *("l1 exit SIPI_SIGNAL 0x9a not-executed", "l1"),
        ],
        ("paolo",): [
            *("l1", "l2", "l1", "l2", "l1 exit VMCALL", "blocked", "l1"),
            *("l1 exit SIPI_SIGNAL 0x9a (saved wait-for-sipi) not-executed", "l1"),
        ],
    },
    # A latched INIT keeps kvm_vcpu_has_events true: HLT in root wakes at once. VMXOFF then
    # raises KVM_REQ_EVENT and the AP is reset before its next instruction.
    "vmx-init-latched-vmxoff": {
        ALL: ["l1", "l1", "l1", "l1 woke", "blocked", WAITS, "l1", STARTED]
    },
}


def test_every_seed_has_an_expectation() -> None:
    assert {path.stem for path in SEEDS.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_seed(name: str) -> None:
    text = (SEEDS / f"{name}.yaml").read_text()
    assert text.startswith("# From: "), "a seed says where it comes from"
    schedule = load(text)
    result = replay(automaton_of(schedule.vendor, choose("", [])), schedule)
    for variants, expected in EXPECTED[name].items():
        for variant in variants:
            assert [short(one) for one in result.traces[variant]] == expected, variant
