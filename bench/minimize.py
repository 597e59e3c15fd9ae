"""How long does minimising take?

Schedules of 32 steps, drawn blindly, are minimised for what they show in their last eight steps:
once with an automaton and an atlas that know nothing yet (`cold`: a campaign just begun), and once
more with both warm.

    python -m bench.minimize [--count N] [--seed N] [--json]
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from itertools import islice
from statistics import median

from fuzz.campaign.palette import RACE, families, palette
from fuzz.compare.compared import compared
from fuzz.compare.signature import Signature
from fuzz.memory.automaton import Automaton
from fuzz.schedule.codes import alphabet, header, pack, schedule_of_input
from fuzz.schedule.schedule import Schedule
from fuzz.shrink.minimize import minimize
from variants.catalogue import choose
from variants.machine.step import MIN_VCPUS, VENDORS, Vendor

STEPS = 32
LATE = 8


def drawn(vendor: Vendor, seed: int) -> Iterator[Schedule]:
    """Schedules of `STEPS` steps on two vCPUs, one step in eight a race."""
    generator = random.Random(seed)
    calm = [code for on in (0, 1) for code in palette(vendor, MIN_VCPUS, on, "")]
    racing = [code for code in alphabet(vendor, MIN_VCPUS) if families(code) == {RACE}]
    while True:
        codes = [
            generator.choice(racing if generator.random() < 1 / 8 else calm) for _ in range(STEPS)
        ]
        yield schedule_of_input(pack([header(vendor, MIN_VCPUS, 0), *codes]))


def late(
    automaton: Automaton, schedules: Iterator[Schedule]
) -> Iterator[tuple[Schedule, Signature]]:
    """Schedules with what they show late."""
    for schedule in schedules:
        for number, divergence in automaton.compare(schedule):
            if number >= STEPS - LATE:
                yield schedule, divergence.signature


def times(automaton: Automaton, found: list[tuple[Schedule, Signature]]) -> list[float]:
    """Milliseconds for each."""
    taken = []
    for schedule, signature in found:
        began = time.perf_counter()
        minimize(automaton, schedule, signature)
        taken.append(1000 * (time.perf_counter() - began))
    return sorted(taken)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.minimize")
    parser.add_argument("--count", type=int, default=100, help="minimisings a vendor (100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = {}
    for vendor in VENDORS:
        subject = compared(vendor, choose("", []))
        schedules = late(Automaton(subject), drawn(vendor, options.seed))
        found = list(islice(schedules, options.count))
        automaton = Automaton(subject)
        for state in ("cold", "warm"):
            ms = times(automaton, found)
            result[f"{vendor} {state}"] = {
                "minimised": len(ms),
                "median ms": median(ms),
                "95 % ms": ms[len(ms) * 95 // 100],
                "most ms": ms[-1],
                "over 100 ms": sum(one > 100 for one in ms),
            }
    if options.json:
        print(json.dumps(result))
        return
    for name, row in result.items():
        figures = ", ".join(f"{what} {figure:.0f}" for what, figure in row.items())
        print(f"{name}: {figures}")
    for vendor in VENDORS:
        cold, warm = (result[f"{vendor} {state}"]["median ms"] for state in ("cold", "warm"))
        print(f"{vendor}: the median is {cold / warm:.1f} times longer cold than warm")


if __name__ == "__main__":
    main()
