"""The page: what was compared, who breaks what, and each finding with its diagrams."""

from collections.abc import Sequence
from pathlib import Path
from shlex import join
from typing import Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fuzz.findings.finding import Ruling
from fuzz.judge.rules import Rule
from fuzz.page.chart import chart
from fuzz.page.diagram import diagram, layout
from fuzz.page.read import Ran
from fuzz.page.story import stories
from fuzz.report.folder import sentence, slug
from fuzz.report.mail import FILE
from fuzz.report.matrix import as_to, counts
from fuzz.report.ruled import Ruled, lead, step_of
from fuzz.report.trace import hidden
from fuzz.schedule.file import write_whole
from fuzz.schedule.text import dump
from variants.machine.points import POINTS
from variants.machine.step import Vendor
from variants.variant import Variant

PAGE: Final = "index.html"
TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


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


class Standing(NamedTuple):
    """A variant against the base. breaks, mends: findings and on which vendors, for which a rule
    says so. others: findings that are neither to it. cells: by vendor, how many are what to it."""

    name: str
    provenance: str
    breaks: tuple[tuple[Entry, str], ...]
    mends: tuple[tuple[Entry, str], ...]
    others: tuple[Entry, ...]
    cells: tuple[list[tuple[Ruling, str]], ...]


def write_page(folder: Path, ran: Ran, found: Sequence[Ruled]) -> Path:
    """Write `index.html` of what `ran` in `folder` and was `found`; where it is."""
    path = folder / PAGE
    write_whole(path, page(ran, found))
    return path


def page(ran: Ran, found: Sequence[Ruled]) -> str:
    """The page as HTML."""
    base = ran.variants[0].name
    entries = [entry(one, number, ran) for number, one in enumerate(found, 1)]
    pairs = list(zip(found, entries, strict=True))
    vendors = sorted({vendor for one in found for vendor in one.finding.vendors})
    standings = [standing(pairs, one, base, vendors) for one in ran.variants if one.name != base]
    charts = []
    for field, what in (("signatures", "signatures found"), ("coverage", "states covered")):
        points = [(one.seconds, getattr(one, field)) for one in ran.samples]
        if any(at and count for at, count in points):
            charts.append(chart(points, what, f"chart-{field}"))
    return TEMPLATES.get_template("page.html").render(
        base=ran.variants[0],
        changed=[one.name for one in standings],
        ran=ran,
        ways=len(ran.forms),
        vendors=[vendor.upper() for vendor in vendors],
        standings=standings,
        entries=entries,
        charts=charts,
    )


def entry(one: Ruled, number: int, ran: Ran) -> Entry:
    form, result, finding = one.best.form, one.best.result, one.finding
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
        title=finding.title,
        ruling=one.ruling,
        lead=lead(one.best, one.ruling),
        rule=one.best.rule,
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


def standing(
    pairs: Sequence[tuple[Ruled, Entry]], variant: Variant, base: str, vendors: Sequence[Vendor]
) -> Standing:
    """What the findings are to a variant."""
    breaks, mends, neither = [
        listed(pairs, variant.name, base, rulings)
        for rulings in (("regression",), ("fix",), ("both", "open", "KVM only"))
    ]
    told = {entry.number for entry, _ in (*breaks, *mends)}
    return Standing(
        variant.name,
        variant.provenance,
        tuple(breaks),
        tuple(mends),
        tuple(entry for entry, _ in neither if entry.number not in told),
        tuple(counts([one for one, _ in pairs], variant.name, base, vendor) for vendor in vendors),
    )


def stance(one: Ruled, variant: str) -> tuple[str, bool | None]:
    """What the judge says of a variant, and if that is good."""
    best = one.best
    if variant not in best.broken:
        return "parted before", None
    if best.rule is None:
        return "", None
    if best.rule.id in best.broken[variant]:
        return "breaks the rule", False
    return "keeps the rule", True


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
