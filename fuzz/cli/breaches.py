"""`eventdiff explore --judge`: every rule that each variant breaks, processes and output."""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from fuzz.cli.output import show_line
from fuzz.cli.status import DIFFERENT, SAME
from fuzz.compare.compared import compared
from fuzz.explore.breaches import Breaches, breaches
from fuzz.judge.rules import BY_ID
from fuzz.report.rulings import breach_json, by_rule, wrapped
from fuzz.schedule.alphabet import Alphabet
from fuzz.schedule.text import step_yaml
from variants.catalogue import choose
from variants.machine.step import Vendor


class Request(NamedTuple):
    """What to explore for one vendor."""

    vendor: Vendor
    alphabets: tuple[Alphabet, ...]


def do_judge(options: argparse.Namespace, requests: Sequence[Request]) -> int:
    """Walk each variant alone; print what it breaks; the exit status."""
    variants = choose(options.variants, options.variant, least=1)
    explored: list[Breaches] = []
    for request in requests:
        for variant in variants:
            began = time.monotonic()
            who = f"{request.vendor} {variant.name}"

            def progress(
                depth: int, states: int, _: int, found: int, who: str = who, began: float = began
            ) -> None:
                seconds = time.monotonic() - began
                show_line(f"{who} {seconds:.0f} s: depth {depth}, {states} states, {found} classes")

            subject = compared(request.vendor, [variant])
            explored.append(breaches(subject, request.alphabets, options.depth, progress))
            show_line()
    names = [variant.name for variant in variants]
    print(json.dumps(breaches_json(explored)) if options.json else breaches_text(explored, names))
    if any(one.interrupted for one in explored):
        raise KeyboardInterrupt
    return DIFFERENT if any(one.found for one in explored) else SAME


def breaches_json(explored: Sequence[Breaches]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        **figures(explored),
        "breaches": [
            breach_json(breach, schedule)
            for one in explored
            for breach, schedule in one.found.items()
        ],
    }


def figures(explored: Sequence[Breaches]) -> dict[str, Any]:
    return {
        "states": sum(one.states for one in explored),
        "transitions": sum(one.transitions for one in explored),
        "depth": max((one.depth for one in explored), default=0),
        "fixpoint": all(one.fixpoint for one in explored),
    }


def breaches_text(explored: Sequence[Breaches], names: Sequence[str]) -> str:
    """A table of rules by variants, steps to the breach in it, and the schedules below."""
    extent = figures(explored)
    end = "to the fixpoint" if extent.pop("fixpoint") else "not to the end"
    lines = [", ".join(f"{number:,} {what}" for what, number in extent.items()) + f", {end}", ""]
    found = by_rule({breach: one for some in explored for breach, one in some.found.items()})
    lines.append("      rule broken (steps)     " + "".join(name[:11].rjust(12) for name in names))
    for (vendor, rule), who in found.items():
        cells = [str(len(who[name].steps)) if name in who else "-" for name in names]
        lines.append(f"{vendor}   {rule:<23} " + "".join(cell.rjust(12) for cell in cells))
    for (vendor, rule), who in found.items():
        lines += ["", *wrapped(f"{vendor} {rule}: {BY_ID[rule].says}", "")]
        lines += wrapped(f"[{BY_ID[rule].citation}]")
        told: dict[str, list[str]] = {}
        for name, schedule in who.items():
            told.setdefault("; ".join(map(step_yaml, schedule.steps)), []).append(name)
        for steps, some in told.items():
            lines += wrapped(f"{' + '.join(some)}: {steps}")
    return "\n".join(lines)
