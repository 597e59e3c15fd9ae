"""`eventdiff explore --judge`: every rule that each variant breaks, processes and output."""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fuzz.cli.cluster import joined
from fuzz.cli.output import show_line
from fuzz.cli.pool import side_by_side
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
    """What to explore of one variant for one vendor."""

    vendor: Vendor
    variants: str
    number: int
    alphabets: tuple[Alphabet, ...]
    depth: int | None


def run(request: Request, files: Sequence[str]) -> Breaches:
    """Walk one variant; on a terminal, say now and then how far it is."""
    began = time.monotonic()
    variant = choose(request.variants, files, least=1)[request.number]

    def progress(depth: int, states: int, _transitions: int, found: int) -> None:
        who = f"{request.vendor} {variant.name} {time.monotonic() - began:.0f} s"
        show_line(f"{who}: depth {depth}, {states} states, {found} classes")

    subject = compared(request.vendor, [variant])
    explored = breaches(subject, request.alphabets, request.depth, progress)
    show_line()
    return explored


def do_judge(options: argparse.Namespace, alphabets: Mapping[Vendor, tuple[Alphabet, ...]]) -> int:
    """Walk each variant alone; print what it breaks; the exit status."""
    files = tuple(options.variant)
    names = [one.name for one in choose(options.variants, files, least=1)]
    requests = [
        Request(vendor, options.variants, number, some, options.depth)
        for vendor, some in alphabets.items()
        for number in range(len(names))
    ]
    with joined(options) as client:
        done = side_by_side(run, requests, files, client)
    explored = [one for one in done if one]
    print(json.dumps(breaches_json(explored)) if options.json else breaches_text(explored, names))
    if len(explored) < len(requests) or any(one.interrupted for one in explored):
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
