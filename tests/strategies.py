"""Hypothesis strategies: every valid step and schedule."""

from hypothesis import strategies as st

from fuzz.schedule.schedule import MIN_FIXED_VECTOR, Schedule
from variants.machine.points import POINTS
from variants.machine.step import (
    ACTIVITIES,
    EXITING,
    ICR_MODES,
    INTERCEPTS,
    MP_STATES,
    MSRS,
    SHORTHANDS,
    VENDORS,
    Step,
    Vendor,
    ops_of,
)

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=30)


def subsets(words: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(words)).map(lambda s: tuple(w for w in words if w in s))


@st.composite
def steps(draw: st.DrawFn, vendor: Vendor, vcpus: int, races: bool = True) -> Step:
    """A valid step."""
    op = draw(st.sampled_from(ops_of(vendor)))
    on = draw(st.integers(0, vcpus - 1))
    match op:
        case "icr":
            mode = draw(st.sampled_from(ICR_MODES))
            lowest = MIN_FIXED_VECTOR if mode == "fixed" else 0
            to = draw(st.one_of(st.integers(0, vcpus - 1), st.sampled_from([*SHORTHANDS.values()])))
            at = draw(st.sampled_from(("", *POINTS))) if races else ""
            return Step(op, on, to, mode, draw(st.integers(lowest, 0xFF)), at)
        case "vmlaunch":
            mode = draw(st.sampled_from(ACTIVITIES))
            return Step(op, on, mode=mode, controls=draw(subsets(EXITING)))
        case "vmrun":
            return Step(op, on, controls=draw(subsets(INTERCEPTS)))
        case "rdmsr":
            return Step(op, on, mode=draw(st.sampled_from(MSRS)))
        case "set-mp-state":
            return Step(op, on, mode=draw(st.sampled_from(MP_STATES)))
        case _:
            return Step(op, on)


@st.composite
def schedules(draw: st.DrawFn, races: bool = True, max_size: int = 20) -> Schedule:
    """A valid schedule."""
    vendor = draw(st.sampled_from(VENDORS))
    vcpus = draw(st.integers(2, 4))
    taken = draw(st.lists(steps(vendor, vcpus, races), max_size=max_size))
    return Schedule(vendor, vcpus, tuple(taken), draw(TEXT), draw(TEXT))
