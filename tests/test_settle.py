"""What kept VMs showed is told only where fresh ones would show it, as far as that is checked."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fuzz.compare.traces import Traces
from fuzz.live.run import FEW, SHARE, live_splits, settle
from fuzz.report.replay import automaton_of, replay
from fuzz.schedule.text import load
from variants.catalogue import choose

SEEDS = Path(__file__).parent.parent / "corpus" / "seeds"
SCHEDULE = load((SEEDS / "svm-sipi-in-l2-then-hlt.yaml").read_text())
PARTED = replay(automaton_of("svm", choose("", [])), SCHEDULE).traces
ALIKE = dict.fromkeys(PARTED, PARTED["original"])


def parts(number: int, live: Traces) -> bool:
    return bool(live_splits(live))


class Machine:
    """Shows the same in kept and fresh VMs but for the schedules given; knows what has been run."""

    def __init__(self, parted: set[int], wrong: set[int]) -> None:
        self.parted, self.wrong = parted, wrong
        self.ran: dict[bool, list[int]] = {False: [], True: []}

    def truth(self, number: int) -> Traces:
        return PARTED if number in self.parted else ALIKE

    def run(self, numbers: Sequence[int], fresh: bool) -> list[Traces]:
        self.ran[fresh] += numbers
        return [
            self.truth(number) if fresh or number not in self.wrong else self.truth_not(number)
            for number in numbers
        ]

    def truth_not(self, number: int) -> Traces:
        return ALIKE if number in self.parted else PARTED


numbers = st.sets(st.integers(0, 10 * FEW), max_size=4 * FEW).map(sorted)
some = st.sets(st.integers(0, 10 * FEW))


@given(numbers, some, some, st.integers())
def test_what_parts_is_what_fresh_vms_show(
    todo: list[int], parted: set[int], wrong: set[int], seed: int
) -> None:
    machine = Machine(parted, wrong)
    found, caught = settle(todo, machine.run, parts, seed)
    assert sorted(found) == todo
    assert set(caught) <= wrong
    fresh = machine.ran[True]
    assert len(fresh) == len(set(fresh))
    for number, traces in found.items():
        if parts(number, traces) or number in fresh:
            assert traces == machine.truth(number)
    if caught or len(todo) <= FEW:
        assert sorted(fresh) == todo
    else:
        quiet = len([one for one in todo if not parts(one, machine.run([one], False)[0])])
        assert len(fresh) == len(todo) - quiet + -(-quiet // SHARE)


@given(numbers, st.integers())
def test_a_kept_vm_that_shows_everything_wrongly_is_noticed(todo: list[int], seed: int) -> None:
    machine = Machine(set(todo), set(todo))
    found, caught = settle(todo, machine.run, parts, seed)
    assert found == dict.fromkeys(todo, PARTED)
    assert bool(caught) == (len(todo) > FEW)


def test_the_choice_is_the_seeds() -> None:
    chosen = []
    for seed in (1, 1, 2):
        machine = Machine(set(), set())
        settle(range(10 * FEW), machine.run, parts, seed)
        chosen.append(machine.ran[True])
    assert chosen[0] == chosen[1] != chosen[2]
