"""Variants between two others: some functions as one has them, the rest as the other."""

from functools import cache
from itertools import zip_longest
from types import FunctionType
from typing import NamedTuple, cast

from variants.variant import Variant, layers, target_of

Chain = tuple[FunctionType, ...]
"""What a variant and those it builds on have in place of one function, the lowest first."""


class Pair(NamedTuple):
    """Two variants; `one` is nearer to the base."""

    one: Variant
    other: Variant


@cache
def chains(variant: Variant) -> dict[FunctionType, Chain]:
    """By function of the machine, what replaces it."""
    found: dict[FunctionType, Chain] = {}
    for layer in layers(variant):
        for function in cast(Chain, layer.replacements):
            target = cast(FunctionType, target_of(function))
            found[target] = (*found.get(target, ()), function)
    return found


def chain_of(variant: Variant, target: FunctionType) -> Chain:
    """What `variant` has for `target`; nothing if it leaves it as it is."""
    return chains(variant).get(target, ())


def implementation(variant: Variant, target: FunctionType) -> FunctionType:
    """What runs when `target` is called."""
    return (target, *chain_of(variant, target))[-1]


def apart_in(pair: Pair) -> tuple[FunctionType, ...]:
    """The functions of the machine that the two do not have alike."""
    targets = chains(pair.one) | chains(pair.other)
    return tuple(t for t in targets if chain_of(pair.one, t) != chain_of(pair.other, t))


@cache
def mixed(pair: Pair, functions: frozenset[FunctionType]) -> Variant:
    """`pair.one` with `functions` as `pair.other` has them. The same one for as long as the
    process lives: linking takes a while."""
    apart = functions.intersection(apart_in(pair))
    if len(apart) in (0, len(apart_in(pair))):
        return pair.other if apart else pair.one
    targets = chains(pair.one) | chains(pair.other)
    chosen = [chain_of(pair.other if t in functions else pair.one, t) for t in targets]
    name = f"{pair.one.name} with {len(functions)} of {pair.other.name}"
    made = None
    for level in zip_longest(*chosen):
        made = Variant(name, name, tuple(filter(None, level)), on=made)
    return made or Variant(name, name)
