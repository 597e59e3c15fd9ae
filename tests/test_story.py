"""What the diagrams tell, of any schedule in which variants part."""

from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given

from fuzz.page.diagram import WIDTH, diagram, layout
from fuzz.page.story import Story, stories
from fuzz.report.replay import Replay, automaton_of, replay
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import load
from tests.golden import golden, schedule_of
from tests.strategies import schedules
from variants.catalogue import choose
from variants.machine.step import VENDORS

AUTOMATA = {vendor: automaton_of(vendor, choose("", [])) for vendor in VENDORS}

NOT_SENT = """
format: 1
vendor: vmx
vcpus: 2
steps:
- hlt: {on: 0}
- icr: {from: 0, to: 1, mode: init}
- icr: {from: 1, to: self, mode: sipi, vector: 0x12}
"""


def all_told(result: Replay) -> list[list[Story]]:
    return [stories(result, at, found.groups) for at, found in result.divergences]


def check(schedule: Schedule) -> None:
    """Each variant is told of once, with all steps; sides are apart; the diagrams are whole."""
    result = replay(AUTOMATA[schedule.vendor], schedule)
    for (at, found), told in zip(result.divergences, all_told(result), strict=True):
        assert Counter(name for story in told for name in story.variants) == Counter(
            list(result.traces)
        )
        sides = [set(group) for group in found.groups]
        for story in told:
            assert len(story.moments) == len(schedule.steps)
            assert sum(not side.isdisjoint(story.variants) for side in sides) <= 1
            parts = [one.number for one in story.moments if one.parts]
            assert parts == [at] or (len(parts) == 1 and parts[0] <= at)
        laid = layout(told)
        assert laid.text < WIDTH / 2 + 90
        for story in told:
            svg = ElementTree.fromstring(diagram(story, laid, "name"))
            assert svg.find("desc") is not None


@pytest.mark.parametrize("name", golden())
def test_known_ones(name: str) -> None:
    check(schedule_of(name))


@given(schedules())
def test_any(schedule: Schedule) -> None:
    check(schedule)


def test_a_message_of_a_vcpu_that_does_not_run_is_not_sent() -> None:
    (told,) = all_told(replay(AUTOMATA["vmx"], load(NOT_SENT)))
    for story in told:
        assert story.moments[1].notes == ("is not sent: it does not run",)
        assert story.senders == ()


def test_the_claim_in_words() -> None:
    """What a reader who does not see the diagram is told."""
    schedule = schedule_of("seeds/svm-sipi-in-l2-then-hlt.yaml")
    (told,) = all_told(replay(AUTOMATA["svm"], schedule))
    words = {story.variants: story.in_words for story in told}
    assert list(words) == [("original", "paolo"), ("yadong",)]
    assert "3. vCPU 1 executes HLT: HLT ends with no event" in words["yadong",]
    assert "3. vCPU 1 executes HLT: halts: KVM_RUN waits" in words["original", "paolo"]
