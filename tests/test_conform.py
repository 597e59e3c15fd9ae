"""Conformance without an emulator: counting, quirks, sampling. `make test-live` runs the rest."""

import argparse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fuzz.cli import conform as cli_conform
from fuzz.compare.traces import Trace, observation_of
from fuzz.live.conform import Tally, count, report_text
from fuzz.live.sample import Reach, grown, read_input, sample
from fuzz.report.replay import automaton_of, replay
from fuzz.schedule.codes import encode
from fuzz.schedule.schedule import Schedule, check, races
from fuzz.schedule.text import schedule_json
from tests.strategies import schedules
from variants.catalogue import choose
from variants.live import protocol
from variants.live.bochs import Version
from variants.live.emulator import LiveError
from variants.live.observe import acting, broken
from variants.machine.step import Step, Vendor

VARIANTS = choose("", [])
OLD: Version = (2, 7)
NMI_AFTER_SMM = (
    Step("smi", 0),
    Step("nop", 0),
    Step("nop", 1),
    Step("nmi", 1),
    Step("nop", 1),
    Step("nop", 1),
)


def model_of(vendor: Vendor, *steps: Step) -> tuple[Schedule, Trace]:
    schedule = Schedule(vendor, 2, steps, "case")
    return schedule, replay(automaton_of(vendor, VARIANTS), schedule).traces["original"]


def but(trace: Trace, step: int, **fields: Any) -> Trace:
    """`trace` with other values at `step`."""
    changed = trace[step]._replace(**fields)
    return (*trace[:step], changed, *trace[step + 1 :])


def test_a_schedule_counts_up_to_its_first_disagreement() -> None:
    schedule, model = model_of("svm", Step("hlt", 1), Step("nop", 1), Step("nop", 0))
    tally = Tally()
    count(tally, schedule, model, model, OLD)
    assert tally.as_json() == {"steps": 3, "agree": 3, "schedules": 1}
    count(tally, schedule, model, but(model, 1, outcome="l1", woke=True), OLD)
    assert tally.as_json() == {"steps": 6, "agree": 4, "schedules": 2}
    (found,) = tally.unexplained
    assert (found.step, found.fields) == (1, ["outcome", "woke"])
    text = report_text("svm", {"original": tally})
    assert "svm original: 4 of 6 steps agree, 1 of 2 schedules; unexplained: 1" in text
    assert "model blocked" in text
    assert "live  l1 gif=True woke=True" in text


def test_a_live_trace_that_breaks_off_counts_as_far_as_it_goes() -> None:
    schedule, model = model_of("svm", Step("nop", 1), Step("hlt", 1), Step("nop", 1))
    off = observation_of(broken(2, 1, "QEMU ended (status -9)"))
    tally = Tally()
    count(tally, schedule, model, (*model[:2], off), OLD)
    assert not tally.disagreements
    count(tally, schedule, model, (*but(model[:2], 1, outcome="l1"), off), OLD)
    assert [one.step for one in tally.unexplained] == [1]
    assert (tally.agree, tally.steps, tally.broken) == (3, 4, 2)
    assert "3 of 4 steps agree, 0 of 2 schedules; broke off: 2" in report_text("svm", {"x": tally})


def test_bochs_nmi_blocking_is_named_and_counted_apart() -> None:
    schedule, model = model_of("vmx", *NMI_AFTER_SMM)
    assert model[4].taken == ("nmi",)
    tally = Tally()
    count(tally, schedule, model, but(model, 4, taken=()), OLD)
    assert not tally.unexplained
    assert [one.quirk for one in tally.disagreements] == ["bochs-nmi-blocking"]
    assert tally.agree == 4
    assert "; quirk bochs-nmi-blocking: 1" in report_text("vmx", {"original": tally})


@pytest.mark.parametrize(
    ("vendor", "steps", "step", "fields"),
    [
        ("svm", NMI_AFTER_SMM, 4, {"taken": ()}),
        ("vmx", NMI_AFTER_SMM[2:], 2, {"taken": ()}),
        ("vmx", NMI_AFTER_SMM, 4, {"outcome": "blocked"}),
        ("vmx", NMI_AFTER_SMM, 5, {"taken": ("nmi",)}),
    ],
    ids=["not Bochs", "never masked", "no NMI missing", "an NMI too many"],
)
def test_nothing_else_is_a_quirk(
    vendor: Vendor, steps: tuple[Step, ...], step: int, fields: dict[str, Any]
) -> None:
    schedule, model = model_of(vendor, *steps)
    tally = Tally()
    count(tally, schedule, model, but(model, step, **fields), OLD)
    assert [one.step for one in tally.unexplained] == [step]


@pytest.mark.parametrize("bochs", [(2, 8), (3, 0), None], ids=["2.8", "3.0", "a processor"])
def test_bochs_nmi_blocking_excuses_nothing_but_old_bochs(bochs: Version | None) -> None:
    schedule, model = model_of("vmx", *NMI_AFTER_SMM)
    tally = Tally()
    count(tally, schedule, model, but(model, 4, taken=()), bochs)
    assert [one.step for one in tally.unexplained] == [4]


@pytest.mark.parametrize("vendor", ["svm", "vmx"])
def test_samples_are_repeatable_valid_and_without_races(vendor: Vendor) -> None:
    chosen = sample(vendor, VARIANTS, 12)
    assert chosen == sample(vendor, VARIANTS, 12)
    assert len(chosen.schedules) == 12
    for schedule in chosen.schedules:
        check(schedule)
        assert schedule.vendor == vendor
        assert not races(schedule)


def test_samples_cover_more_than_as_many_taken_at_random() -> None:
    chosen = sample("svm", VARIANTS, 12)
    reach = Reach("svm", VARIANTS)
    corpus = [read_input(data) for data in grown("svm", reach, 480, 1)]
    blindly = frozenset().union(*(reach.of(one) for one in corpus[::20][:12]))
    assert len(blindly) < chosen.covered <= chosen.reached
    assert chosen.covered == len(frozenset().union(*(reach.of(one) for one in chosen.schedules)))


def test_a_corpus_is_read_leniently_and_races_become_writes(tmp_path: Path) -> None:
    race = Step("icr", 0, 1, "sipi", 0x77, "accepted")
    schedule = Schedule("svm", 2, (race, Step("nop", 1)))
    expected = Schedule("svm", 2, (race._replace(at=""), Step("nop", 1)))
    data = encode(schedule)
    no_step = (0x3F00).to_bytes(2, "little")
    assert read_input(data + no_step) == expected
    assert not read_input(b"").steps
    (tmp_path / "input").write_bytes(data)
    (tmp_path / "other").write_bytes(encode(Schedule("vmx", 2, (Step("nop", 1),))))
    (only,) = sample("svm", VARIANTS, 5, tmp_path).schedules
    assert only.steps == expected.steps


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli_conform.add_parser(parser.add_subparsers())
    return parser.parse_args(["conform", *arguments])


def test_options() -> None:
    assert options("--samples", "7,0").samples == {"svm": 7, "vmx": 0}
    assert options().samples is None
    for bad in ("7", "7,8,9", "a,b", "-1,2"):
        with pytest.raises(SystemExit) as failure:
            options(f"--samples={bad}")
        assert failure.value.code == 2


@pytest.mark.parametrize("other", ["--samples=1,1", "--corpus=corpus"])
def test_a_covering_set_is_instead_of_samples(other: str) -> None:
    assert not options().cover
    with pytest.raises(LiveError, match="--cover takes the place of"):
        cli_conform.do_conform(options("--cover", other))


def test_without_a_setup_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(LiveError, match="nothing is set up in"):
        cli_conform.do_conform(options("--cache", str(tmp_path), "--samples", "0,0"))


@given(schedules(races=False))
def test_the_agent_is_told_of_every_step_and_its_vcpu(schedule: Schedule) -> None:
    plain = schedule_json(schedule)
    head, *lines = protocol.encode(7, plain).splitlines()
    count = len(schedule.steps)
    assert head == f"S 7 {int(schedule.vendor == 'vmx')} {schedule.vcpus} {count} 0 0 0"
    for step, described, line in zip(schedule.steps, plain["steps"], lines, strict=True):
        number, on, *_, at = line.split()
        assert (int(number), int(on), at) == (protocol.COMMANDS[step.op], step.on, "-")
        assert acting(step.op, described[step.op]) == step.on
