"""What live traces are compared by, tried on the models' own traces."""

from pathlib import Path

import pytest
from hypothesis import given

from fuzz.compare.compared import compared
from fuzz.compare.signature import Form
from fuzz.compare.traces import Trace, observation_json, observation_of
from fuzz.live.confirm import out_of_reach, verdict_of
from fuzz.live.run import live_splits
from fuzz.live.text import both_text, live_text
from fuzz.memory.automaton import Automaton
from fuzz.report.folder import CONFIRMED, MODEL_ONLY, NOT_REPRODUCED, Verdict
from fuzz.report.replay import Replay, replay
from fuzz.report.trace import WIDTH
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import load
from tests.strategies import schedules
from variants.catalogue import choose
from variants.live.observe import broken
from variants.live.runner import Build
from variants.machine.step import VENDORS

SEEDS = Path(__file__).parent.parent / "corpus" / "seeds"
AUTOMATA = {vendor: Automaton(compared(vendor, choose("", []))) for vendor in VENDORS}
OLD = (2, 7)
"""A Bochs that masks NMIs too long."""
KERNELS = dict.fromkeys(("original", "yadong", "paolo"), Build(*[Path()] * 4))


def result_of(seed: str) -> Replay:
    schedule = load((SEEDS / f"{seed}.yaml").read_text())
    return replay(AUTOMATA[schedule.vendor], schedule)


@given(schedules())
def test_live_traces_split_as_models_do(schedule: Schedule) -> None:
    result = replay(AUTOMATA[schedule.vendor], schedule)
    shown = [(at, one.groups) for at, one in result.divergences if one.kind != "latent"]
    assert [tuple(split) for split in live_splits(result.traces)] == shown


@given(schedules())
def test_observations_survive_json(schedule: Schedule) -> None:
    for trace in replay(AUTOMATA[schedule.vendor], schedule).traces.values():
        assert [observation_of(observation_json(0, one)) for one in trace] == list(trace)


def test_a_finding_is_confirmed_only_by_the_same_groups_at_the_same_step() -> None:
    result = result_of("svm-sipi-in-l2-then-hlt")
    ((step, divergence),) = result.divergences
    finding = Form(divergence, result.schedule)
    live = dict(result.traces)
    assert verdict_of(finding, result, live, OLD) == Verdict(CONFIRMED)
    earlier = result._replace(divergences=[(step - 1, divergence)])
    swapped = live | {"yadong": live["paolo"], "paolo": live["yadong"]}
    alike = dict.fromkeys(live, live["paolo"])
    assert verdict_of(finding, earlier, live, OLD) == Verdict(NOT_REPRODUCED)
    for other in (swapped, alike):
        assert verdict_of(finding, result, other, OLD) == Verdict(NOT_REPRODUCED)


def broken_off(trace: Trace, step: int) -> Trace:
    """What is left of a trace if the emulator dies in `step`."""
    return (*trace[:step], observation_of(broken(step, trace[step].on, "QEMU ended (status -9)")))


def test_a_run_that_broke_off_parts_from_nobody() -> None:
    result = result_of("svm-sipi-in-l2-then-hlt")
    ((step, divergence),) = result.divergences
    finding = Form(divergence, result.schedule)
    for at in range(step + 1):
        live = {**result.traces, "paolo": broken_off(result.traces["paolo"], at)}
        assert live_splits(live) == [(step, (("original",), ("yadong",)))]
        text = live_text(result.schedule, live, live_splits(live))
        assert f"paolo broke off at step {at}: QEMU ended (status -9)\n" in text
        assert "the variants agree" not in text
        assert f"paolo: live KVM agrees with the model in {at} of 4 steps\n" in both_text(
            result, live, OLD
        )
        verdict = verdict_of(finding, result, live, OLD)
        assert verdict == Verdict(MODEL_ONLY, "the live run broke off")
    all_broken = {name: broken_off(trace, 0) for name, trace in result.traces.items()}
    assert live_splits(all_broken) == []


def test_an_error_that_kvm_reports_is_compared() -> None:
    """KVM_RUN failing (KVM_EXIT_FAIL_ENTRY) ends no run: it is what the variant does."""
    result = result_of("svm-sipi-in-l2-then-hlt")
    *before, last = result.traces["original"]
    failed = (*before, last._replace(outcome="error", warn="kvm_vcpu_reset"))
    (split,) = live_splits({"original": result.traces["original"], "paolo": failed})
    assert split == (3, (("original",), ("paolo",)))


NMI_IN_L2 = """format: 1
vendor: vmx
vcpus: 2
steps:
- vmxon: {on: 1}
- vmlaunch: {on: 1, exiting: [nmi]}
- nmi: {to: 1}
- nop: {on: 1}
- vmlaunch: {on: 1}
- nmi: {to: 1}
- nop: {on: 1}
"""


def test_an_emulators_quirk_is_named() -> None:
    """Bochs keeps NMIs masked after an NMI exit: the second one is not taken."""
    schedule = load(NMI_IN_L2)
    agreed = replay(AUTOMATA["vmx"], schedule)
    traces = agreed.traces
    assert [one.taken for one in traces["paolo"]][-1] == ("nmi",)
    masked = {name: (*trace[:-1], trace[-1]._replace(taken=())) for name, trace in traces.items()}
    text = both_text(agreed, masked, OLD)
    assert "paolo: live KVM agrees with the model in 6 of 7 steps" in text
    assert "  the emulator's quirk bochs-nmi-blocking, see docs/live-quirks.md" in text
    divergence = result_of("vmx-sipi-in-l1-then-hlt").divergences[0][1]
    result = agreed._replace(divergences=[(6, divergence)])
    verdict = verdict_of(Form(divergence, schedule), result, masked, OLD)
    assert str(verdict) == "not reproduced (quirk bochs-nmi-blocking)"


def test_what_real_kvm_cannot_tell() -> None:
    result = result_of("svm-sipi-in-l2-then-hlt")
    ((_, divergence),) = result.divergences
    finding = Form(divergence, result.schedule)
    assert out_of_reach(finding, KERNELS) == ""
    assert out_of_reach(finding, {"original": KERNELS["original"]}) == (
        "no live build of paolo, yadong"
    )
    hidden = divergence.signature._replace(kind="latent")
    latent = finding._replace(divergence=divergence._replace(signature=hidden))
    assert out_of_reach(latent, KERNELS) == "it does not show"
    steps = result.schedule.steps
    race = result.schedule._replace(steps=(steps[0], steps[1]._replace(at="handled"), *steps[2:]))
    assert out_of_reach(finding._replace(schedule=race), KERNELS) == (
        "original: a race, and the build is not instrumented"
    )


@pytest.mark.parametrize("times", [1, 3])
def test_live_tables_fit_a_mail(times: int) -> None:
    result = result_of("vmx-yadong-procedure")
    traces = {
        f"{name}-{number}": trace
        for number in range(times)
        for name, trace in result.traces.items()
    }
    live = traces | {"paolo-0": traces["original-0"][:4]}
    texts = [
        both_text(result._replace(traces=traces), live, OLD),
        live_text(result.schedule, live, live_splits(live)),
    ]
    for text in texts:
        assert max(map(len, text.splitlines())) <= WIDTH
    assert "paolo-0: live KVM agrees with the model in 3 of 12 steps" in texts[0]
    assert "yadong-0: live KVM agrees with the model in 12 of 12 steps" in texts[0]
    assert "\n! 1. vCPU 1 reads IA32_VMX_MISC" in texts[0]
