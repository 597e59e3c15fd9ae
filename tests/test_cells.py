"""Tables of traces."""

from itertools import combinations

import pytest
from hypothesis import given

from fuzz.report.replay import automaton_of, replay
from fuzz.report.trace import cells
from fuzz.schedule.schedule import Schedule
from tests.golden import golden, schedule_of
from tests.strategies import schedules
from variants.catalogue import choose
from variants.machine.step import VENDORS

AUTOMATA = {vendor: automaton_of(vendor, choose("", [])) for vendor in VENDORS}


def check(schedule: Schedule) -> None:
    """Two variants have the same cell in a step if they show the same, and then alone."""
    traces = replay(AUTOMATA[schedule.vendor], schedule).traces
    for step in range(len(schedule.steps)):
        told = dict(zip(traces, cells(traces, list(traces), step, ""), strict=True))
        for one, other in combinations(traces, 2):
            same = traces[one][step] == traces[other][step]
            assert (told[one] == told[other]) == same


@pytest.mark.parametrize("name", golden())
def test_cells_of_what_is_known_part(name: str) -> None:
    check(schedule_of(name))


@given(schedules())
def test_cells_part_where_variants_do(schedule: Schedule) -> None:
    check(schedule)
