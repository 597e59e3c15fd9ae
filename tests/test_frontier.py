"""Turns, and a frontier against the explorer: what is rare comes soon, and nothing is left out."""

import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.campaign.coverage import ByOutline
from fuzz.campaign.frontier import Frontier, Start
from fuzz.campaign.mutator import MAX_STEPS
from fuzz.campaign.turns import Turns
from fuzz.campaign.walker import Walker
from fuzz.compare.compared import compared
from fuzz.compare.signature import Divergence, Signature
from fuzz.explore.exhaustive import explore
from fuzz.memory.automaton import Automaton
from fuzz.schedule.alphabet import alphabet_of, usual_words
from fuzz.schedule.codes import fuzz_input, schedule_of_input
from fuzz.schedule.schedule import Schedule
from variants.catalogue import choose
from variants.machine.step import VENDORS, Step, Vendor

Found = dict[Signature, bytes]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3))), st.randoms())
def test_each_has_its_turn_and_those_of_a_path_in_order(
    paths: list[tuple[str, int]], drawn: random.Random
) -> None:
    turns: Turns[int] = Turns()
    seen = set()
    for number, path in enumerate(paths):
        assert turns.put(path, number) == (path not in seen)
        seen.add(path)
    taken = []
    while turns:
        taken.append(turns.take(drawn.randrange))
    assert sorted(taken) == list(range(len(paths)))
    for path in seen:
        mine = [number for number in taken if paths[number] == path]
        assert mine == sorted(mine)


def test_what_is_rare_comes_soon() -> None:
    turns: Turns[str] = Turns()
    for number in range(1000):
        turns.put(("common", number % 10), "common")
    turns.put(("rare", 0), "rare")
    drawn = random.Random(1)
    assert next(n for n in count() if turns.take(drawn.randrange) == "rare") < 10


def test_turns_that_were_had_are_remembered() -> None:
    turns: Turns[str] = Turns()
    turns.put("a", "a")
    turns.take(random.Random(1).randrange)
    turns.put("a", "a")
    turns.clear()
    assert not turns
    assert not turns.put("a", "a")
    assert turns.put("b", "b")
    assert turns.take(lambda bound: bound - 1) == "b"


def swept(vendor: Vendor, variants: str, family: str, most: int) -> tuple[Automaton, Found]:
    """Go on from `most` joint vCPUs; signatures, each with the input that was noted for it."""
    found: Found = {}
    current = [b""]

    def shown(divergences: tuple[Divergence, ...]) -> None:
        for one in divergences:
            found.setdefault(one.signature, current[0])

    def note(data: bytes) -> None:
        current[0] = data

    automaton = Automaton(compared(vendor, choose(variants, [])), shown, ByOutline())
    modes = ("init", "sipi")
    frontier = Frontier(vendor, Walker(automaton), [[family]], modes, MAX_STEPS, note, note)
    drawn = random.Random(1)
    for _ in range(most):
        if frontier.go_on(drawn) is None:
            break
    return automaton, found


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_frontier_ends_with_all_that_the_explorer_finds(vendor: Vendor) -> None:
    automaton, found = swept(vendor, "original,paolo", "", 10**6)
    alphabet = alphabet_of(vendor, usual_words(vendor), races=False)
    explored = explore(automaton.uncached, alphabet, None, lambda *_: None)
    assert explored.fixpoint
    assert set(found) == set(explored.found)


def test_a_way_that_is_shorter_is_gone_on_from_again() -> None:
    """What is far behind a joint vCPU is too far where the way there was a detour."""
    walker = Walker(Automaton(compared("vmx", choose("", []))))
    frontier = Frontier("vmx", walker, [[]], (), 6, lambda _: None, lambda _: None)
    drawn = random.Random(1)
    assert frontier.go_on(drawn) is None
    for steps, goes_on in ((5, True), (4, False), (3, True), (2, False)):
        detour = fuzz_input(Schedule("vmx", 2, (Step("nop", 1),) * steps))
        walker.walk(detour)
        frontier.put(walker.vm[1], Start(detour, 1, ""))
        gone_on = list(iter(lambda: frontier.go_on(drawn), None))
        assert bool(gone_on) == goes_on
        assert all(data.startswith(detour) for data in gone_on)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("family", ["race", "NMI"])
def test_what_is_found_is_noted_with_an_input_that_shows_it(vendor: Vendor, family: str) -> None:
    automaton, found = swept(vendor, "", family, 300)
    assert found
    for signature, data in found.items():
        shown = automaton.compare(schedule_of_input(data))
        assert signature in {one.signature for _, one in shown}
