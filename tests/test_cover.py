"""The covering set: walks that prefer what is new, tours that leave nothing out."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.compare.compared import Compared, compared
from fuzz.explore.search import Event
from fuzz.live.cover import made, read, reproducers, write
from fuzz.live.novelty import events_of, walks
from fuzz.live.pairs import MOST_STEPS, Pair, amounts_to, met, pairs_in
from fuzz.live.tours import tours
from fuzz.memory.tables import Tables
from fuzz.report.replay import automaton_of
from fuzz.schedule.alphabet import Alphabet, alphabet_of, words_of
from fuzz.schedule.schedule import Schedule, check, races
from tests.golden import golden, schedule_of
from variants.catalogue import choose
from variants.machine.machine import initial_vcpu
from variants.machine.step import VENDORS, Step, Vendor

SUBJECTS = {vendor: compared(vendor, choose("original", [], least=1)) for vendor in VENDORS}
MACHINES = {vendor: Tables(SUBJECTS[vendor]).compared.machines[0] for vendor in VENDORS}


def quiet() -> None:
    """No progress."""


def covered(vendor: Vendor, schedules: list[Schedule]) -> set[Pair]:
    return {pair for one in schedules for pair in pairs_in(MACHINES[vendor], one)}


def can_run(schedule: Schedule) -> None:
    check(schedule)
    assert not races(schedule)
    assert 0 < len(schedule.steps) <= MOST_STEPS


@st.composite
def alphabets(draw: st.DrawFn, vendor: Vendor) -> Alphabet:
    """A few steps and messages of all there are: its graph is small."""
    whole = alphabet_of(vendor, words_of(vendor), races=False)
    chosen = st.lists(st.sampled_from(whole.steps), min_size=1, max_size=4, unique=True)
    sent = st.lists(st.sampled_from(whole.messages), max_size=2, unique=True)
    return Alphabet(tuple(draw(chosen)), tuple(draw(sent)), ())


def there_is(subject: Compared, alphabet: Alphabet) -> Iterator[Pair]:
    """Every pair, by trying everything in every state, with no numbers and no ways."""
    machine = subject.machines[0]
    todo = [initial_vcpu(bsp) for bsp in (True, False)]
    seen = set(todo)
    while todo:
        state = todo.pop()
        after = [machine.step_vcpu(state, step, ()).vcpu for step in alphabet.steps]
        after += [machine.deliver(state, irq) for irq in alphabet.messages]
        events = [Event(step, None) for step in alphabet.steps]
        events += [Event(None, irq) for irq in alphabet.messages]
        shown = [machine.step_vcpu(state, step, ()).observation for step in alphabet.steps]
        if here := met(state):
            for event, one in zip_longest(events, shown):
                yield here, amounts_to(event, one)
        todo += {one for one in after if one not in seen}
        seen.update(after)


@settings(deadline=None, max_examples=25)
@given(st.data(), st.sampled_from(VENDORS))
def test_tours_take_every_pair_there_is(data: st.DataObject, vendor: Vendor) -> None:
    subject = SUBJECTS[vendor]
    some = data.draw(st.lists(alphabets(vendor), min_size=1, max_size=2))
    there = [pair for alphabet in some for pair in there_is(subject, alphabet)]
    taken = data.draw(st.sets(st.sampled_from(there)))
    found, pairs = tours(subject, some, taken, quiet)
    assert pairs == set(there)
    assert pairs <= covered(vendor, found) | taken
    assert (found, pairs) == tours(subject, some, taken, quiet)
    assert not tours(subject, some, pairs, quiet)[0]
    for schedule in found:
        can_run(schedule)


@pytest.mark.parametrize("vendor", VENDORS)
def test_tours_are_few_and_each_is_needed(vendor: Vendor) -> None:
    words = ("hlt", "vmrun", "vmxon", "vmlaunch", "init", "sipi", "set-mp-state")
    found, pairs = tours(SUBJECTS[vendor], [alphabet_of(vendor, words, races=False)], set(), quiet)
    assert len(found) < len(pairs) / 8
    seen: set[Pair] = set()
    for schedule in found:
        assert not covered(vendor, [schedule]) <= seen
        seen |= covered(vendor, [schedule])


@settings(deadline=None, max_examples=10)
@given(st.sampled_from(VENDORS), st.integers(0, 1 << 32))
def test_walks_can_be_run_and_repeated(vendor: Vendor, seed: int) -> None:
    begun = reproducers(vendor)[:2]
    found = list(walks(SUBJECTS[vendor], 4, seed, begun))
    assert found == list(walks(SUBJECTS[vendor], 4, seed, begun))
    assert found != list(walks(SUBJECTS[vendor], 4, seed + 1, begun))
    for schedule in found:
        can_run(schedule)
    for first, schedule in zip(begun, found, strict=False):
        assert schedule.vcpus == first.vcpus
        assert schedule.steps[: len(first.steps)] == first.steps


@pytest.mark.parametrize("vendor", VENDORS)
def test_walks_show_all_that_the_corpus_shows_without_a_race(vendor: Vendor) -> None:
    begun = reproducers(vendor)
    automaton = automaton_of(vendor, choose("", []))
    shown = {
        str(divergence.signature)
        for schedule in walks(SUBJECTS[vendor], len(begun), 1, begun)
        for _, divergence in automaton.compare(schedule)
    }
    there = {
        line.partition(": ")[2]
        for name, lines in golden().items()
        for line in lines
        if (one := schedule_of(name)).vendor == vendor and not races(one) and "latent" not in line
    }
    assert there
    assert there <= shown


def at_random(vendor: Vendor, count: int) -> Iterator[Schedule]:
    """Schedules of the same length and steps as walks, blindly."""
    random, events = Random(1), events_of(vendor)
    for _ in range(count):
        taken = []
        for _ in range(MOST_STEPS):
            on, event = random.randrange(2), random.choice(events)
            if event.message:
                taken.append(Step("icr", 1 - on, on, *event.message))
            elif event.step:
                taken.append(event.step._replace(on=on))
        yield Schedule(vendor, 2, tuple(taken))


@pytest.mark.parametrize("vendor", VENDORS)
def test_walks_cover_more_than_as_many_steps_at_random(vendor: Vendor) -> None:
    walked = covered(vendor, list(walks(SUBJECTS[vendor], 60, 1)))
    blindly = covered(vendor, list(at_random(vendor, 60)))
    assert len(blindly) < len(walked)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_set_is_kept_whole(vendor: Vendor, tmp_path: Path) -> None:
    small = alphabet_of(vendor, ("hlt", "init", "sipi"), races=False)
    new = made(SUBJECTS[vendor], (small,), reproducers(vendor)[:2], 5)
    assert (len(new.walks), new.schedules) == (5, new.walks + new.tours)
    assert 0 < new.known <= min(new.walked, new.explored)
    path = tmp_path / "set.json"
    assert read(path) is None
    write(path, new)
    assert read(path) == new
    assert [one.name for one in tmp_path.iterdir()] == ["set.json"]
    path.write_text(path.read_text()[:-9])
    assert read(path) is None
