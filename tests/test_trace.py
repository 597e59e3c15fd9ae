"""Traces as text: what a reader is told of each step."""

from pathlib import Path

from hypothesis import example, given

from fuzz.report.mail import Told, mail_text
from fuzz.report.replay import automaton_of, replay
from fuzz.report.trace import WIDTH, trace_text
from fuzz.report.words import told
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import load
from tests.strategies import schedules
from variants.catalogue import choose
from variants.machine.step import VENDORS, Step

SEEDS = Path(__file__).parent.parent / "corpus" / "seeds"
AUTOMATA = {vendor: automaton_of(vendor, choose("", [])) for vendor in VENDORS}


def shown(schedule: Schedule) -> str:
    return trace_text(replay(AUTOMATA[schedule.vendor], schedule))


def test_a_message_is_told_of_its_target() -> None:
    """And what is pending there, until it is taken; by variant where they do not agree on that."""
    lines = shown(load((SEEDS / "svm-sipi-in-l2-then-hlt.yaml").read_text())).splitlines()
    sent = lines.index("  1. vCPU 0 sends SIPI 0x12 to vCPU 1")
    assert lines[sent + 1] == "     vCPU 1: SIPI pending"
    assert lines[sent + 2] == "  2. vCPU 1 runs on (NOP)"
    assert lines[sent + 4].split("  ") != lines[sent + 3].split("  ")
    assert lines[sent + 4].replace("nothing pending", "-").split() == ["-", "SIPI", "pending", "-"]
    assert lines[sent + 5] == "> 3. vCPU 1 executes HLT"


def test_a_sender_that_shows_more_than_that_it_runs_on_is_told() -> None:
    text = """
format: 1
vendor: svm
vcpus: 2
steps:
- icr: {from: 1, to: 0, mode: init}
- icr: {from: 0, to: 1, mode: sipi, vector: 0x12}
"""
    lines = shown(load(text)).splitlines()
    at = lines.index("  1. vCPU 0 sends SIPI 0x12 to vCPU 1")
    assert lines[at + 1] == "     on vCPU 0:"
    assert lines[at + 2].split()[:2] == ["bsp-reset", "not-executed"]


def test_a_race_says_where_it_lands() -> None:
    golden = SEEDS.parent / "golden"
    for path in golden.glob("*race-with*"):
        schedule = load(path.read_text())
        points = [step.at for step in schedule.steps if step.at]
        said = " ".join(shown(schedule).split())
        assert all(f"lands in the target's next step, at {point} (" in said for point in points)


def test_what_stays_hidden_is_named() -> None:
    text = shown(load((SEEDS / "svm-init-latched-vmrun.yaml").read_text()))
    assert "latent: original + yadong | paolo\nthey differ in " in text


@given(schedules())
@example(Schedule("svm", 2, (Step("icr", 0, -1, "init", 1, "accept-nested-checked"),)))
def test_any_finding_fits_a_mail_and_can_be_taken_from_it(schedule: Schedule) -> None:
    result = replay(AUTOMATA[schedule.vendor], schedule)
    text = mail_text(result, Told("It differs.", ("Broken. " * 30,)), ["--variants", "a,b"])
    assert max(map(len, text.splitlines())) <= WIDTH
    _, _, yaml = text.partition("with this as reproducer.yaml:\n")
    assert load(yaml) == schedule._replace(name="", about="")


@given(schedules())
def test_a_step_says_who_acts(schedule: Schedule) -> None:
    for step in schedule.steps:
        assert f"vCPU {step.on}" in told(step)
