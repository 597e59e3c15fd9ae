"""Joint vCPUs as numbers, and what steps make of them.

A joint vCPU is one whole number: its label (who is compared with whom, and why who differs inside)
above the number of each variant's vCPU state. Most steps make all variants the same thing, or
leave them as unequal as they were; that takes a few look-ups. Where variants come to differ or are
told apart, `fuzz.compare.joint` says how.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple

from fuzz.compare.compared import Group
from fuzz.compare.joint import JointVcpu, Unequal, latents, parted
from fuzz.compare.signature import Divergence
from fuzz.memory.numbers import (
    LABEL_BITS,
    SEEN_BITS,
    SEEN_MASK,
    VCPU_BITS,
    VCPU_MASK,
    AnswerId,
    ArrivalsId,
    JointId,
    LabelId,
    Numbers,
    Result,
    SeenId,
    StepId,
    VcpuId,
)
from fuzz.memory.tables import Tables

NOTHING: Final = JointId(-1)
"""In place of a joint vCPU: nothing is left to compare."""


class Mark(NamedTuple):
    """What determines the divergences of a step: label, observations, and for each group that
    splits the answer, none if the cause lies not in the step."""

    label: LabelId
    observed: tuple[SeenId, ...]
    answers: tuple[AnswerId, ...]


class Label(NamedTuple):
    """What a joint vCPU is apart from its states. members: those still compared. base: the
    label's part of a packed joint vCPU, from its `number`. plain: that of the label with these
    groups where nothing is unequal. ones: what a state's number is multiplied with if all have it.
    """

    number: LabelId
    groups: tuple[Group, ...]
    unequal: tuple[Unequal, ...]
    members: tuple[int, ...]
    base: int
    plain: int
    ones: int


class Parting(NamedTuple):
    """What observations do to the groups of a label. pairs: the two variants that name the split
    of each group that splits. after: the label left, None if nothing is. places: of those left,
    among the members."""

    pairs: tuple[tuple[int, int], ...]
    after: Label | None
    places: tuple[int, ...]


class Packed:
    """Packs the joint vCPUs of what `tables` compares."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._shift = len(tables.compared.names) * VCPU_BITS
        self._labels = Numbers[tuple[tuple[Group, ...], tuple[Unequal, ...]], LabelId](
            "labels", LABEL_BITS
        )
        self._known: list[Label] = []
        self._latents: dict[LabelId, tuple[Divergence, ...]] = {}
        self._relabelled: dict[tuple[LabelId, tuple[bool, ...]], LabelId | None] = {}
        self._partings: dict[tuple[LabelId, tuple[SeenId, ...]], Parting] = {}

    def pack(self, vcpu: JointVcpu) -> JointId:
        """`vcpu` as a number; what has been armed is left out. `NOTHING` without groups."""
        if not vcpu.groups:
            return NOTHING
        packed = self._known[self._label(vcpu.groups, vcpu.unequal)].base
        for member, state in enumerate(vcpu.vcpus):
            if state is not None:
                packed |= self.tables.vcpu_id(state) << member * VCPU_BITS
        return JointId(packed)

    def unpack(self, packed: JointId) -> JointVcpu:
        """The joint vCPU that was packed."""
        count = len(self.tables.compared.names)
        if packed == NOTHING:
            return JointVcpu((), (None,) * count, (), ((),) * count)
        label = self.label(packed)
        vcpus = [
            self.tables.vcpu(self._vcpu_id(packed, n)) if n in label.members else None
            for n in range(count)
        ]
        return JointVcpu(label.groups, tuple(vcpus), label.unequal, ((),) * count)

    def label(self, packed: JointId) -> Label:
        """The label of a joint vCPU."""
        return self._known[packed >> self._shift]

    def vcpu_ids(self, packed: JointId) -> list[VcpuId]:
        """The numbers of the members' states."""
        members = self._known[packed >> self._shift].members
        vcpus: list[Any] = [packed >> member * VCPU_BITS & VCPU_MASK for member in members]
        return vcpus

    def latents(self, packed: JointId) -> tuple[Divergence, ...]:
        """The latent divergences of a schedule that ends in this joint vCPU, on this vCPU.

        Its label tells: the causes in it name every two variants that differ inside.
        """
        number = self.label(packed).number
        known = self._latents.get(number)
        if known is None:
            vcpu = self.unpack(packed)
            known = self._latents[number] = latents(self.tables.compared, (vcpu,))
        return known

    def follow(
        self,
        label: Label,
        vcpus: Sequence[VcpuId],
        results: Sequence[Result],
        step: StepId,
        arrivals: Sequence[ArrivalsId],
    ) -> tuple[JointId | None, Mark | None]:
        """What a step makes of a joint vCPU, and what determines its divergences if it has any.

        label, vcpus: label and states. results, arrivals: of each member. None in place of the
        joint vCPU: variants that were alike may now differ, and `fuzz.compare.joint` must say why.
        """
        number = label.number
        observed: tuple[Any, ...] = tuple([result & SEEN_MASK for result in results])
        known = self._partings.get((number, observed))
        if known is None:
            known = self._partings[number, observed] = self._parting(label, observed)
        mark = None
        if known.pairs:
            met = dict(zip(label.members, zip(vcpus, arrivals, strict=True), strict=True))
            own_answer = self.tables.own_answer
            answers = [own_answer(step, i, j, *met[i], *met[j]) for i, j in known.pairs]
            mark = Mark(number, observed, tuple(answers))
        if known.after is None:
            return NOTHING, mark
        left: list[Any] = [results[n] >> SEEN_BITS for n in known.places]
        return self.join(known.after, left), mark

    def join(self, label: Label, vcpus: Sequence[VcpuId]) -> JointId | None:
        """The joint vCPU of these states under a label; None if some differ that did not before."""
        first = vcpus[0]
        joint: JointId
        bits: Any  # no `cast`: this is called for most of what is unequal, and that is a call
        if vcpus.count(first) == len(vcpus):
            bits = label.plain | first * label.ones
            joint = bits
            return joint
        unequal = tuple([one != other for one, other in combinations(vcpus, 2)])
        if (label.number, unequal) not in self._relabelled:
            self._relabelled[label.number, unequal] = self._relabel(label, vcpus)
        after = self._relabelled[label.number, unequal]
        if after is None:
            return None
        bits = self._known[after].base
        for member, one in zip(label.members, vcpus, strict=True):
            bits |= one << member * VCPU_BITS
        joint = bits
        return joint

    def _vcpu_id(self, packed: JointId, member: int) -> VcpuId:
        return VcpuId(packed >> member * VCPU_BITS & VCPU_MASK)

    def _parting(self, label: Label, observed: tuple[SeenId, ...]) -> Parting:
        seen = dict(zip(label.members, observed, strict=True))
        parts = [parted(group, seen.__getitem__) for group in label.groups]
        groups = tuple(part for some in parts for part in some if len(part) > 1)
        left = {pair for group in groups for pair in combinations(group, 2)}
        unequal = tuple(one for one in label.unequal if one.pair in left)
        after = self._known[self._label(groups, unequal)] if groups else None
        places = tuple(n for n, m in enumerate(label.members) if any(m in g for g in groups))
        pairs = tuple((some[0][0], some[1][0]) for some in parts if len(some) > 1)
        return Parting(pairs, after, places)

    def _relabel(self, label: Label, vcpus: Sequence[VcpuId]) -> LabelId | None:
        state = dict(zip(label.members, vcpus, strict=True))
        pairs = {(i, j) for group in label.groups for i, j in combinations(group, 2)}
        differ = {(i, j) for i, j in pairs if state[i] != state[j]}
        unequal = tuple(one for one in label.unequal if one.pair in differ)
        return self._label(label.groups, unequal) if len(unequal) == len(differ) else None

    def _label(self, groups: tuple[Group, ...], unequal: tuple[Unequal, ...]) -> LabelId:
        plain = self._label(groups, ()) if unequal else None
        number = self._labels.of((groups, unequal))
        if number == len(self._known):
            members = tuple(member for group in groups for member in group)
            base = number << self._shift
            ones = sum(1 << member * VCPU_BITS for member in members)
            plain_base = base if plain is None else self._known[plain].base
            self._known.append(Label(number, groups, unequal, members, base, plain_base, ones))
        return number
