"""Which hunks a divergence is laid to, where it is known what brings it about."""

from collections.abc import Collection, Mapping, Sequence
from math import ceil, log2

from hypothesis import given
from hypothesis import strategies as st

from fuzz.review.blame import Hunks, laid_to, turns

COUNT = 12
HUNKS = st.frozensets(st.integers(1, COUNT), min_size=1)
CAUSES = st.lists(HUNKS, min_size=1, max_size=4)
"""Any of these sets of hunks brings the divergence about, whatever else there is."""
TOGETHER = st.lists(st.frozensets(st.integers(1, COUNT), min_size=2, max_size=4), max_size=3)
"""Sets of hunks that build only together."""
NEEDS = st.lists(st.tuples(st.integers(1, COUNT), st.integers(1, COUNT)), max_size=5)
"""Hunks, and others that they do not build without."""


class Patch:
    """A patch that counts what it is asked."""

    def __init__(
        self,
        causes: Collection[Hunks],
        together: Collection[Hunks] = (),
        needs: Collection[tuple[int, int]] = (),
    ) -> None:
        self.causes, self.together, self.needs = causes, together, needs
        self.asked: list[Hunks] = []

    def __call__(self, batch: Sequence[Hunks]) -> Mapping[Hunks, bool | None]:
        self.asked += batch
        return {kept: self.shows(kept) for kept in batch}

    def shows(self, kept: Hunks) -> bool | None:
        if any(kept & one and not one <= kept for one in self.together):
            return None
        if any(one in kept and other not in kept for one, other in self.needs):
            return None
        return any(cause <= kept for cause in self.causes)


def every(count: int) -> Hunks:
    return frozenset(range(1, count + 1))


@given(CAUSES, TOGETHER, NEEDS)
def test_the_answer_heals_and_none_of_it_can_be_put_back(
    causes: list[Hunks], together: list[Hunks], needs: list[tuple[int, int]]
) -> None:
    patch = Patch(causes, together, needs)
    laid = laid_to(COUNT, patch)
    single = {one: patch.shows(every(COUNT) - {one}) for one in every(COUNT)}
    assert laid.unknown == {one for one, shows in single.items() if shows is None}
    healing = [frozenset({one}) for one, shows in single.items() if shows is False]
    if healing:
        assert list(laid.sets) == healing
        return
    (found,) = laid.sets
    assert patch.shows(every(COUNT) - found) is False
    for one in found:
        alone = patch.shows(every(COUNT) - found | {one})
        assert alone is not False
        for other in found if alone is None else ():
            assert patch.shows(every(COUNT) - found | {one, other}) is not False
    assert len(patch.asked) == len(set(patch.asked))
    assert not {every(COUNT), frozenset()} & set(patch.asked)


@given(CAUSES)
def test_where_all_builds_no_part_of_the_answer_heals(causes: list[Hunks]) -> None:
    patch = Patch(causes)
    for found in laid_to(COUNT, patch).sets:
        assert all(patch.shows(every(COUNT) - (found - {one})) for one in found)


@given(HUNKS)
def test_hunks_that_it_takes_each_are_all_named(cause: Hunks) -> None:
    patch = Patch([cause])
    assert laid_to(COUNT, patch).sets == tuple(frozenset({one}) for one in sorted(cause))
    assert len(patch.asked) == COUNT


@given(st.permutations(range(1, COUNT + 1)), st.integers(0, 4), st.integers(1, COUNT))
def test_pairs_that_build_only_together_are_left_out_or_put_back_together(
    order: list[int], pairs: int, causes: int
) -> None:
    """Any of some hunks brings it about: the answer has these, and what is tied to them."""
    together = [frozenset(order[2 * number : 2 * number + 2]) for number in range(pairs)]
    patch = Patch([frozenset({one}) for one in range(1, causes + 1)], together)
    tied = every(causes).union(*(pair for pair in together if pair & every(causes)))
    assert frozenset().union(*laid_to(COUNT, patch).sets) == tied


@given(HUNKS, st.frozensets(st.integers(1, COUNT), min_size=3))
def test_many_that_build_only_together_are_too(causes: Hunks, together: Hunks) -> None:
    patch = Patch([frozenset({one}) for one in causes], [together])
    tied = causes | (together if causes & together else frozenset())
    assert frozenset().union(*laid_to(COUNT, patch).sets) == tied


@given(st.sets(st.integers(1, 60), min_size=2, max_size=4))
def test_few_of_many_hunks_are_found_with_few_questions(causes: set[int]) -> None:
    patch = Patch([frozenset({one}) for one in causes])
    assert laid_to(60, patch).sets == (frozenset(causes),)
    assert len(patch.asked) <= 60 + 3 * len(causes) * ceil(log2(60))


def test_a_patch_of_one_hunk_needs_no_question() -> None:
    patch = Patch([frozenset({1})])
    assert laid_to(1, patch).sets == (frozenset({1}),)
    assert patch.asked == []


def test_the_kernels_between_which_it_turned() -> None:
    order = ["5.10", "6.1", "6.12", "6.17", "6.18"]
    once = dict(zip(order, [False, False, None, True, True], strict=True))
    assert turns(order, once) == [("6.1", "6.17")]
    thrice = {**once, "6.12": True, "6.17": False}
    assert turns(order, thrice) == [("6.1", "6.12"), ("6.12", "6.17"), ("6.17", "6.18")]
    assert turns(order, {"5.10": "blocked", "6.18": "blocked"}) == []
