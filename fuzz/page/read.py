"""What a campaign or an exploration has left in its folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz.compare.signature import Form
from fuzz.findings.finding import grouped
from fuzz.memory.automaton import Automaton
from fuzz.report.folder import slug_of
from fuzz.report.mail import FILE
from fuzz.report.replay import automaton_of
from fuzz.report.ruled import Ruled, ruled
from fuzz.schedule.file import read_schedule, whole_lines
from variants.catalogue import choose
from variants.machine.step import VENDORS, Vendor
from variants.variant import Variant

CAMPAIGN: Final = "campaign.json"
EXPLORATION: Final = "certificate.json"
STATISTICS: Final = "statistics.jsonl"


class FolderError(Exception):
    """A folder that is none of ours, or not whole: one line."""


class Sample(NamedTuple):
    """How far a campaign was. coverage: counters that were hit."""

    seconds: float
    schedules: int
    signatures: int
    coverage: int


class Ran(NamedTuple):
    """kind: `campaign` or `exploration`. options: what chooses the same variants. figures: what was
    run, by name. forms: the divergences, each with its reproducer. lives: what became of them on
    real KVM, by signature, if that was asked."""

    kind: str
    variants: tuple[Variant, ...]
    options: tuple[str, ...]
    automata: dict[Vendor, Automaton]
    figures: dict[str, int | float | bool]
    samples: tuple[Sample, ...]
    forms: tuple[Form, ...]
    lives: dict[str, str]

    @property
    def extent(self) -> str:
        """How much was run, in a few words."""
        return extent(self.figures)


def extent(told: Mapping[str, Any]) -> str:
    """How much was run, in a few words; "" if the run's JSON does not say."""
    if "schedules" in told:
        mixed = ", with --mix" if told.get("mix") else ""
        return f"{told['schedules']:,} schedules in {told['seconds']:.0f} s{mixed}"
    if "transitions" in told:
        end = "to the fixpoint" if told["fixpoint"] else "not to the end"
        return f"{told['states']:,} states, {told['transitions']:,} transitions, {end}"
    return ""


def read_ran(folder: Path) -> Ran:
    """Raises FolderError; VariantError if a variant can no longer be had."""
    kind, told = told_in(folder)
    if told.get("live"):
        raise FolderError(f"{folder}: a campaign on real KVM: what it found is in its summary.md")
    options = options_in(told)
    variants = tuple(chosen_by(options))
    automata = {vendor: automaton_of(vendor, variants) for vendor in VENDORS}
    names = [one["signature"] for one in told["signatures"]]
    keys = ("schedules", "seconds", "states", "transitions", "depth", "fixpoint")
    return Ran(
        kind,
        variants,
        options,
        automata,
        {key: told[key] for key in keys if key in told},
        tuple(samples_in(folder)),
        tuple(form(folder, automata, name) for name in names),
        {name: live for name in names if (live := live_of(folder, name))},
    )


def found_in(ran: Ran) -> list[Ruled]:
    """The findings, in the order to read them in."""
    return ruled(ran.automata, ran.variants[0].name, grouped(ran.variants, ran.forms))


def told_in(folder: Path) -> tuple[str, dict[str, Any]]:
    """Which kind of run the folder is of, and its JSON."""
    for kind, name in (("campaign", CAMPAIGN), ("exploration", EXPLORATION)):
        path = folder / name
        if not path.exists():
            continue
        try:
            told = json.loads(path.read_text())
            if isinstance(told["signatures"], list):
                return kind, told
        except (ValueError, KeyError, TypeError):
            pass
        raise FolderError(f"{path}: not what a {kind} writes")
    raise FolderError(f"{folder}: no {CAMPAIGN} and no {EXPLORATION}: nothing ran here")


def options_in(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The options that chose the variants."""
    if "variant_options" not in told:
        return tuple(told.get("options", ()))
    named, *files = told["variant_options"]
    given = ["--variants", named] if named else []
    return (*given, *(word for file in files for word in ("--variant", file)))


def chosen_by(options: Sequence[str]) -> Sequence[Variant]:
    """Raises VariantError."""
    given = list(zip(options[::2], options[1::2], strict=True))
    named = "".join(value for name, value in given if name == "--variants")
    return choose(named, [value for name, value in given if name == "--variant"])


def form(folder: Path, automata: dict[Vendor, Automaton], name: str) -> Form:
    """The divergence of a signature, shown by the reproducer in its folder."""
    path = folder / slug_of(name) / FILE
    schedule = read_schedule(str(path))
    for _, found in automata[schedule.vendor].compare(schedule):
        if str(found.signature) == name:
            return Form(found, schedule)
    raise FolderError(f"{path}: does not show {name!r} now; variants or models have changed")


def live_of(folder: Path, name: str) -> str:
    """What real KVM made of a signature's reproducer; "" if it was not asked."""
    path = folder / slug_of(name) / "live.txt"
    return path.read_text().partition("\n")[0] if path.exists() else ""


def samples_in(folder: Path) -> Sequence[Sample]:
    path = folder / STATISTICS
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in whole_lines(path)]
        return [Sample(*(row[name] for name in Sample._fields)) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise FolderError(f"{path}: not what a campaign writes") from None
