"""Sets of states without those that another of them stands for.

A state stands for another if it allows all that the other allows, and names a breach at least as
well. Without the others sets are smaller, and many become one: that is what lets an exploration of
all of them end.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from fuzz.judge.states import Manual, Vcpu

Fits = frozenset[Vcpu]
"""The states of a processor that fit what was shown."""
MET: Final = ("", "kept", "hlt")
"""`Vcpu.sipi_met`, what explains more the later: `hlt-sipi` is named before `sipi-kept`, and that
before a HLT that ends by itself."""
REMEMBERED: Final = 1 << 16
"""Answers for one state that are remembered: sets of them have most in common."""


def smallest(manual: Manual, vcpus: Iterable[Vcpu]) -> Fits:
    """`vcpus` without those that others of them stand for."""
    alike: defaultdict[Vcpu, list[Vcpu]] = defaultdict(list)
    for vcpu in frozenset(vcpus):
        alike[essence(vcpu)].append(vcpu)
    for vcpu in list(alike):
        for after in resets(manual, vcpu):
            alike.pop(after, None)
    return frozenset(
        one
        for some in alike.values()
        for one in some
        if not any(stands_for(other, one) for other in some)
    )


@lru_cache(REMEMBERED)
def essence(vcpu: Vcpu) -> Vcpu:
    """`vcpu` without the fields that `stands_for` compares."""
    return vcpu._replace(
        sipi_met="", sipi_vector=0, overdue=frozenset(), forced=False, migrated=False
    )


def stands_for(one: Vcpu, other: Vcpu) -> bool:
    """Does `one` stand for `other`, which has the same essence?"""
    return (
        one != other
        and one.overdue >= other.overdue
        and MET.index(one.sipi_met) >= MET.index(other.sipi_met)
        and (not other.sipi_met or one.sipi_vector == other.sipi_vector)
        and one.forced >= other.forced
        and one.migrated >= other.migrated
    )


def resets(manual: Manual, vcpu: Vcpu) -> tuple[Vcpu, ...]:
    """The essences of what a pending INIT may have made of `vcpu` already, outside of a guest:
    nothing shows it before the next step, and what comes until then may as well come first."""
    if not vcpu.init or vcpu.l2 or manual.blocked(vcpu, "init"):
        return ()
    after = (essence(way.vcpu) for way in manual.take(vcpu, "init") if not way.breaks)
    return tuple(one for one in after if one != vcpu)
