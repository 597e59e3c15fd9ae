"""The page: what was compared, who breaks what, and each finding with its diagrams."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import join
from typing import Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fuzz.findings.finding import Ruling, grouped
from fuzz.judge.rules import Rule
from fuzz.page.chart import chart
from fuzz.page.diagram import diagram, layout
from fuzz.page.read import Ran, read_ran
from fuzz.page.story import stories
from fuzz.report.folder import sentence, slug
from fuzz.report.mail import FILE
from fuzz.report.ruled import Ruled, ruled, side_of, step_of, telling
from fuzz.report.trace import hidden
from fuzz.schedule.file import write_whole
from fuzz.schedule.text import dump
from variants.machine.points import POINTS
from variants.machine.step import Vendor

TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
COUNTED: Final[Mapping[Ruling, tuple[str, str]]] = {
    "regression": ("regression", "regressions"),
    "both": ("wrong either way", "wrong either way"),
    "fix": ("fix", "fixes"),
    "open": ("open", "open"),
    "KVM only": ("KVM only", "KVM only"),
}
"""A ruling, of one finding and of more."""


class Panel(NamedTuple):
    """A diagram, of which variants, and what the judge says of them where they part."""

    variants: str
    says: str
    good: bool | None
    svg: Markup


class FormRow(NamedTuple):
    """A way in which a finding shows, and where its files are."""

    what: str
    kind: str
    vendor: str
    steps: int
    live: str
    folder: str


class Entry(NamedTuple):
    """A finding as the page has it. lead: who is right, in a sentence."""

    number: int
    title: str
    ruling: Ruling
    lead: str
    rule: Rule | None
    vendors: str
    shown_on: str
    functions: tuple[str, ...]
    live: str
    steps: int
    hidden: tuple[str, ...]
    points: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]
    folder: str
    yaml: str
    command: str
    forms: tuple[FormRow, ...]

    @property
    def anchor(self) -> str:
        return f"finding-{self.number}"

    @property
    def words(self) -> str:
        """What the filter looks in."""
        functions = " ".join(self.functions)
        said = f"{self.title} {self.ruling} {self.lead} {self.vendors} {functions} {self.live}"
        return said.lower()


class Cell(NamedTuple):
    """A variant on a vendor: its findings by what they are to it."""

    counts: tuple[tuple[Ruling, str], ...]


class Standing(NamedTuple):
    """A variant against the base. breaks, mends: findings and on which vendors, for which a rule
    says so. others: findings that are neither to it."""

    name: str
    provenance: str
    breaks: tuple[tuple[Entry, str], ...]
    mends: tuple[tuple[Entry, str], ...]
    others: tuple[Entry, ...]
    cells: tuple[Cell, ...]


def write_page(folder: Path) -> Path:
    """Write `index.html` of what ran in `folder`; where it is.

    Raises FolderError, ScheduleError or VariantError if what is there is not whole, and OSError.
    """
    path = folder / "index.html"
    write_whole(path, page(read_ran(folder)))
    return path


def page(ran: Ran) -> str:
    """The page as HTML."""
    base = ran.variants[0].name
    found = ruled(ran.automata, base, grouped(ran.variants, ran.forms))
    entries = [entry(one, number, ran) for number, one in enumerate(found, 1)]
    pairs = list(zip(found, entries, strict=True))
    vendors = sorted({vendor for one in found for vendor in one.finding.vendors})
    changed = [one for one in ran.variants if one.name != base]
    standings = [
        Standing(
            one.name,
            one.provenance,
            tuple(listed(pairs, one.name, base, ("regression",))),
            tuple(listed(pairs, one.name, base, ("fix",))),
            tuple(
                entry for entry, _ in listed(pairs, one.name, base, ("both", "open", "KVM only"))
            ),
            tuple(Cell(tuple(counts(found, one.name, base, vendor))) for vendor in vendors),
        )
        for one in changed
    ]
    charts = [
        chart([(one.seconds, getattr(one, field)) for one in ran.samples], what, f"chart-{field}")
        for field, what in (("signatures", "signatures found"), ("coverage", "states covered"))
        if len(ran.samples) > 1
    ]
    return TEMPLATES.get_template("page.html").render(
        base=ran.variants[0],
        changed=[one.name for one in changed],
        ran=ran,
        ways=len(ran.forms),
        vendors=[vendor.upper() for vendor in vendors],
        standings=standings,
        entries=entries,
        charts=charts,
    )


def entry(one: Ruled, number: int, ran: Ran) -> Entry:
    (form, result, *_), finding = one.best, one.finding
    told = stories(result, step_of(form, result), form.divergence.groups)
    laid = layout(told)
    panels = [
        Panel(
            ", ".join(story.variants),
            *stance(one, story.variants[0]),
            diagram(story, laid, f"finding-{number}-{n}"),
        )
        for n, story in enumerate(told)
    ]
    landing = {step.at for step in form.schedule.steps}
    latent = form.divergence.kind == "latent"
    others = [
        FormRow(
            sentence(other.divergence),
            other.divergence.kind,
            other.schedule.vendor.upper(),
            len(other.schedule.steps),
            ran.lives.get(str(other.signature), ""),
            slug(other.signature),
        )
        for other in finding.forms
    ]
    return Entry(
        number=number,
        title=capitalised(finding.title),
        ruling=one.ruling,
        lead=lead(one),
        rule=one.rule,
        vendors=" and ".join(vendor.upper() for vendor in finding.vendors),
        shown_on=form.schedule.vendor.upper(),
        functions=finding.functions,
        live=ran.lives.get(str(form.signature), ""),
        steps=len(form.schedule.steps),
        hidden=tuple(hidden(result, form.divergence)) if latent else (),
        points=tuple((one, where) for one, where in POINTS.items() if one in landing),
        panels=tuple(panels),
        folder=slug(form.signature),
        yaml=dump(form.schedule),
        command=join(["eventdiff", "replay", *ran.options, f"{slug(form.signature)}/{FILE}"]),
        forms=tuple(others),
    )


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def stance(one: Ruled, variant: str) -> tuple[str, bool | None]:
    """What the judge says of a variant, and if that is good."""
    if variant not in one.broken:
        return "parted before", None
    if one.rule is None:
        return "", None
    if one.rule.id in one.broken[variant]:
        return "breaks the rule", False
    return "keeps the rule", True


def lead(one: Ruled) -> str:
    """Who is right, in a sentence that the rule completes."""
    breaking = " and ".join(one.breaking)
    keeping = " and ".join(name for name in one.broken if name not in one.breaking)
    verb = "break" if len(one.breaking) > 1 else "breaks"
    match one.ruling:
        case "regression":
            keep = "keep" if " and " in keeping else "keeps"
            return f"{breaking} {verb} what {keeping} {keep}:"
        case "fix":
            mend = "mend" if " and " in keeping else "mends"
            return f"{keeping} {mend} what {breaking} {verb}:"
        case "both":
            return f"{breaking} {verb} a rule here, whichever way it is done:"
        case "open":
            return "The manuals do not say who is right: either is allowed."
    return "No manual speaks of this: it is KVM's own (a WARN, spinning, what an ioctl answers)."


def as_to(one: Ruled, variant: str, base: str, vendor: Vendor) -> Ruling | None:
    """What a finding is to a variant on a vendor; None if it does there as the base does."""
    if vendor not in one.by_vendor:
        return None
    form, _, broken, ruling = one.by_vendor[vendor]
    if variant not in broken:
        return None
    if ruling in ("regression", "both"):
        return ruling if telling(broken)[variant] else None
    if base in broken:
        return None if variant in side_of(form, base) else ruling
    return ruling if variant in one.finding.deviating else None


def counts(
    found: Sequence[Ruled], variant: str, base: str, vendor: Vendor
) -> list[tuple[Ruling, str]]:
    """How many findings are what to a variant on a vendor, in words."""
    each = [as_to(one, variant, base, vendor) for one in found]
    return [
        (ruling, f"{each.count(ruling)} {words[each.count(ruling) > 1]}")
        for ruling, words in COUNTED.items()
        if ruling in each
    ]


def listed(
    pairs: Sequence[tuple[Ruled, Entry]], variant: str, base: str, rulings: Sequence[Ruling]
) -> list[tuple[Entry, str]]:
    """The findings that are of one of `rulings` to a variant, and on which vendors."""
    found = []
    for one, entry in pairs:
        on = [v for v in one.finding.vendors if as_to(one, variant, base, v) in rulings]
        if on:
            found.append((entry, " and ".join(vendor.upper() for vendor in on)))
    return found
