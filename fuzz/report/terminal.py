"""What a campaign or an exploration says when it ends: one screen."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Final

from fuzz.report.matrix import counts
from fuzz.report.ruled import Ruled
from fuzz.schedule.schedule import printable, races

MOST: Final = 12
"""Findings that are listed, if not all are."""


def ending(
    ran: str, found: Sequence[Ruled], names: Sequence[str], out: Path, every: bool = False
) -> str:
    """The matrix, the findings in a line each, and how to see one whole.

    ran: in a few words, what was run. names: the variants, the base first. out: where the reports
    are. every: list those too that are open and show only in a race or not at all, and KVM's own.
    """
    ways = sum(len(one.finding.forms) for one in found)
    where = printable(str(out))
    lines = [f"{ran}: {ways} signatures, {len(found)} findings; see {where}/index.html"]
    if not found:
        return "\n".join([*lines, ""])
    lines += ["", *matrix(found, names), ""]
    aside = {number: why for number, one in enumerate(found, 1) if (why := set_aside(one))}
    listed = [n for n in range(1, len(found) + 1) if every or n not in aside]
    if not every:
        listed = listed[:MOST]
    lines += [line(number, found[number - 1]) for number in listed]
    left = [why for number, why in aside.items() if number not in listed]
    more = len(found) - len(listed) - len(left)
    counted = [f"{left.count(why)} {why}" for why in dict.fromkeys(left)]
    counted = [f"{more} more", *counted] if more else counted
    if counted:
        lines.append(f"    and {', '.join(counted)}: --all lists them")
    first = listed[0] if listed else 1
    return "\n".join([*lines, "", f"eventdiff show {quote(where)} {first}    shows one whole", ""])


def matrix(found: Sequence[Ruled], names: Sequence[str]) -> list[str]:
    """Variants by vendors: what the findings are to each."""
    base, *others = names
    vendors = sorted({vendor for one in found for vendor in one.finding.vendors})
    rows = [["", *(vendor.upper() for vendor in vendors)]]
    for name in others:
        cells = [", ".join(text for _, text in counts(found, name, base, v)) for v in vendors]
        rows.append([name, *(cell or f"as {base}" for cell in cells)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "".join(f"  {cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in rows
    ]


def set_aside(one: Ruled) -> str:
    """Why a finding is counted, not listed; "" if it is listed."""
    form = one.best.form
    if one.ruling == "KVM only":
        return "of KVM's own"
    if one.ruling != "open":
        return ""
    if races(form.schedule):
        return "in races"
    return "that do not show" if form.divergence.kind == "latent" else ""


def line(number: int, one: Ruled) -> str:
    """A finding in a line."""
    judged, finding = one.best, one.finding
    mending = tuple(name for name in judged.broken if name not in judged.breaking)
    who = {"regression": judged.breaking, "fix": mending}.get(one.ruling, finding.deviating)
    steps = len(judged.form.schedule.steps)
    length = f"{steps:2} {'step ' if steps == 1 else 'steps'}"
    head = f"{number:3} {one.ruling:10} {'+'.join(finding.vendors):7} {length}  "
    return f"{head}{', '.join(who)}: {finding.title}"
