"""Joint vCPUs as numbers, and what steps make of them.

A joint vCPU is one whole number: its label (who is compared with whom, and why who differs inside)
above the number of each variant's vCPU state. Most steps make all variants the same thing, or
leave them as unequal as they were; that takes a few look-ups. Where variants come to differ or are
told apart, `fuzz.compare.joint` says how.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Final, NamedTuple

from fuzz.compare.cause import own_cause
from fuzz.compare.compared import Group
from fuzz.compare.joint import JointVcpu, latents, split
from fuzz.compare.signature import Cause, Divergence
from fuzz.memory.tables import NUMBER, NUMBER_BITS, OBSERVED, OBSERVED_BITS, Tables

NOTHING: Final = -1
"""In place of a joint vCPU: nothing is left to compare."""

Mark = tuple[int, tuple[int, ...], tuple[Cause | None, ...]]
"""What determines the divergences of a step: label, observations, and for each group that splits
the cause, if it lies in the step."""


class Label(NamedTuple):
    """What a joint vCPU is apart from its states. members: those still compared. base: the
    label's part of a packed joint vCPU. plain: that of the label with these groups and no causes.
    ones: what a state's number is multiplied with if it is every member's."""

    groups: tuple[Group, ...]
    causes: tuple[tuple[int, int, str], ...]
    members: tuple[int, ...]
    base: int
    plain: int
    ones: int


class Split(NamedTuple):
    """What observations do to the groups of a label. pairs: the two variants that name the split
    of each group that splits. after: the label left, None if nothing is. members: places of those
    left among the members."""

    pairs: tuple[tuple[int, int], ...]
    after: int | None
    members: tuple[int, ...]


class Packed:
    """Packs the joint vCPUs of what `tables` compares. labels: by number."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.shift = len(tables.compared.names) * NUMBER_BITS
        self.labels: list[Label] = []
        self._label_numbers: dict[object, int] = {}
        self._latents: dict[int, tuple[Divergence, ...]] = {}
        self._relabelled: dict[tuple[int, tuple[bool, ...]], int | None] = {}
        self._splits: dict[tuple[int, tuple[int, ...]], Split] = {}
        self._own: dict[tuple[int, ...], Cause | None] = {}

    def pack(self, vcpu: JointVcpu) -> int:
        """`vcpu` as a number; what has been armed is left out. `NOTHING` without groups."""
        if not vcpu.groups:
            return NOTHING
        packed = self.labels[self._label(vcpu.groups, vcpu.causes)].base
        for member, state in enumerate(vcpu.vcpus):
            if state is not None:
                packed |= self.tables.number(state) << member * NUMBER_BITS
        return packed

    def unpack(self, packed: int) -> JointVcpu:
        """The joint vCPU that was packed."""
        count = len(self.tables.compared.names)
        if packed == NOTHING:
            return JointVcpu((), (None,) * count, (), ((),) * count)
        label = self.labels[packed >> self.shift]
        states = self.tables.vcpus
        vcpus = [
            states[packed >> n * NUMBER_BITS & NUMBER] if n in label.members else None
            for n in range(count)
        ]
        return JointVcpu(label.groups, tuple(vcpus), label.causes, ((),) * count)

    def numbers(self, packed: int) -> list[int]:
        """The numbers of the members' states."""
        members = self.labels[packed >> self.shift].members
        return [packed >> member * NUMBER_BITS & NUMBER for member in members]

    def latents(self, packed: int) -> tuple[Divergence, ...]:
        """The latent divergences of a schedule that ends in this joint vCPU, on this vCPU.

        Its label tells: the causes in it name every two variants that differ inside.
        """
        label = packed >> self.shift
        known = self._latents.get(label)
        if known is None:
            vcpu = self.unpack(packed)
            known = self._latents[label] = latents(self.tables.compared, (vcpu,))
        return known

    def follow(
        self,
        number: int,
        numbers: Sequence[int],
        results: Sequence[int],
        step: int,
        arrivals: Sequence[int],
    ) -> tuple[int | None, Mark | None]:
        """What a step makes of a joint vCPU, and what determines its divergences if it has any.

        number, numbers: label and states. results, arrivals: of each member. None in place of the
        joint vCPU: variants that were alike may now differ, and `fuzz.compare.joint` must say why.
        """
        label = self.labels[number]
        observed = tuple([result & OBSERVED for result in results])
        known = self._splits.get((number, observed))
        if known is None:
            known = self._splits[number, observed] = self._split(label, observed)
        mark = None
        if known.pairs:
            states = dict(zip(label.members, zip(numbers, arrivals, strict=True), strict=True))
            causes = [self._own_cause(step, i, j, states[i], states[j]) for i, j in known.pairs]
            mark = (number, observed, tuple(causes))
        if known.after is None:
            return NOTHING, mark
        return self.join(known.after, [results[n] >> OBSERVED_BITS for n in known.members]), mark

    def join(self, number: int, numbers: Sequence[int]) -> int | None:
        """The joint vCPU of these states under a label; None if some differ that did not before."""
        label = self.labels[number]
        first = numbers[0]
        if numbers.count(first) == len(numbers):
            return label.plain | first * label.ones
        unequal = tuple([one != other for one, other in combinations(numbers, 2)])
        if (number, unequal) not in self._relabelled:
            self._relabelled[number, unequal] = self._relabel(label, numbers)
        after = self._relabelled[number, unequal]
        if after is None:
            return None
        packed = self.labels[after].base
        for member, one in zip(label.members, numbers, strict=True):
            packed |= one << member * NUMBER_BITS
        return packed

    def _own_cause(
        self, step: int, i: int, j: int, one: tuple[int, int], other: tuple[int, int]
    ) -> Cause | None:
        """`own_cause` of variants i and j, of each the state and the arrivals."""
        key = (step, i, j, *one, *other)
        if key not in self._own:
            tables = self.tables
            vcpus = tables.vcpus[one[0]], tables.vcpus[other[0]]
            arrivals = tables.armed[one[1]], tables.armed[other[1]]
            taken = tables.steps[step]
            self._own[key] = own_cause(tables.compared, i, j, vcpus, taken, arrivals)
        return self._own[key]

    def _split(self, label: Label, observed: tuple[int, ...]) -> Split:
        seen = dict(zip(label.members, observed, strict=True))
        parts = [split(group, seen.__getitem__) for group in label.groups]
        groups = tuple(part for some in parts for part in some if len(part) > 1)
        left = {pair for group in groups for pair in combinations(group, 2)}
        causes = tuple(one for one in label.causes if one[:2] in left)
        after = self._label(groups, causes) if groups else None
        members = tuple(n for n, m in enumerate(label.members) if any(m in g for g in groups))
        pairs = tuple((some[0][0], some[1][0]) for some in parts if len(some) > 1)
        return Split(pairs, after, members)

    def _relabel(self, label: Label, numbers: Sequence[int]) -> int | None:
        state = dict(zip(label.members, numbers, strict=True))
        pairs = {(i, j) for group in label.groups for i, j in combinations(group, 2)}
        unequal = {(i, j) for i, j in pairs if state[i] != state[j]}
        causes = tuple(one for one in label.causes if one[:2] in unequal)
        return self._label(label.groups, causes) if len(causes) == len(unequal) else None

    def _label(self, groups: tuple[Group, ...], causes: tuple[tuple[int, int, str], ...]) -> int:
        number = self._label_numbers.get((groups, causes))
        if number is None:
            plain = self.labels[self._label(groups, ())].base if causes else None
            members = tuple(member for group in groups for member in group)
            number = self._label_numbers[groups, causes] = len(self.labels)
            base = number << self.shift
            ones = sum(1 << member * NUMBER_BITS for member in members)
            label = Label(groups, causes, members, base, base if plain is None else plain, ones)
            self.labels.append(label)
        return number
