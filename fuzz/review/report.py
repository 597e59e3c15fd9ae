"""What a review writes: a folder a finding, a summary, a machine-readable list, a paragraph for a
mail."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz.judge.monitor import judge
from fuzz.judge.rules import BY_ID, Rule
from fuzz.live.run import known, live_splits
from fuzz.live.text import live_text
from fuzz.report.folder import slug_of
from fuzz.report.reproducer import reproducer
from fuzz.report.trace import WIDTH
from fuzz.review.findings import Found, Way
from fuzz.review.reached_text import doubt, reached_json, sentences
from fuzz.review.review import Review, Reviewed
from fuzz.schedule.file import write_whole
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import dump, schedule_json, step_yaml
from variants.machine.step import Vendor

NOT_TESTED: Final = "silicon, vGIF, AVIC/APICv, messages that land while KVM runs"
SAYS: Final = {
    "outcome": "",
    "warn": "the kernel warns: ",
    "nested_exit": "VM exit to L1: ",
    "ends": "the kernel: ",
}
"""What fields are called in a title, where their names do not say it."""


class Facts(NamedTuple):
    """What a report says beside what was found.

    versions: of the kernels, by variant. emulators: by vendor. left_out: vendors that were not run,
    and why. patch: the file, "" if kernels are compared; hunks: all that it has.
    """

    versions: Mapping[str, str]
    emulators: Mapping[Vendor, str]
    left_out: Mapping[Vendor, str]
    patch: str = ""
    hunks: tuple[str, ...] = ()


def title(found: Found) -> str:
    """A difference in a line: the step in which it shows, and what each variant does."""
    step = found.shortest.schedule.steps[-1]
    what = f"{step.op} {step.mode}" if step.op == "set-mp-state" else step.op
    shown = zip(found.mark.groups, found.mark.values, strict=True)
    said = ", ".join(f"{' and '.join(group)} {value}" for group, value in shown)
    return f"{what}: {SAYS.get(found.mark.field, f'{found.mark.field}: ')}{said}"


def broken_by(found: Found) -> dict[str, Rule]:
    """The rule of the manuals that a variant breaks first in the shortest schedule, by variant."""
    way = found.shortest
    broken = {}
    for name, trace in way.traces.items():
        _, ruling = next(judge(way.schedule, known(trace)), (0, None))
        if ruling and not ruling.open:
            broken[name] = BY_ID[ruling.rule]
    return broken


def laid(found: Found) -> str:
    """What a difference is laid to, "" if to nothing yet."""
    return f"by {'; '.join(found.hunks)}" if found.hunks else found.between


def finding_json(vendor: Vendor, found: Found) -> dict[str, Any]:
    way = found.shortest
    return {
        "title": title(found),
        "vendor": vendor,
        "length": len(way.schedule.steps),
        "schedule": schedule_json(named(vendor, found, way)),
        "groups": [list(group) for group in found.mark.groups],
        "hunks": list(found.hunks),
        "between": found.between,
        "breaks": {name: rule.id for name, rule in broken_by(found).items()},
        "repeats": list(way.repeats),
        "minimal": way.minimal,
        "explains": found.explains,
        "ways": len(found.ways),
    }


def review_json(review: Review) -> dict[str, Any]:
    """What `review --json` prints, and `review.json` holds."""
    base, *others = review.names
    return {
        "base": base,
        "other": ",".join(others),
        "vendors": list(review.reviewed),
        "schedules": sum(one.hunt.schedules for one in review.reviewed.values()),
        "unexplained": sum(len(one.hunt.unexplained) for one in review.reviewed.values()),
        "interrupted": review.interrupted,
        "seconds": round(review.seconds, 3),
        "reached": reached_json(review.reached),
        "findings": [finding_json(vendor, found) for vendor, found in review.found],
    }


def named(vendor: Vendor, found: Found, way: Way) -> Schedule:
    """The schedule of a way, with the finding's name."""
    return way.schedule._replace(name=name_of(vendor, found), about=title(found))


def name_of(vendor: Vendor, found: Found) -> str:
    """The name of a finding's folder."""
    return slug_of(f"{vendor} {title(found)}")


def ran(vendor: Vendor, one: Reviewed, facts: Facts) -> str:
    """What was run for a vendor, in a sentence."""
    hunt = one.hunt
    gone = sum(found.gone for found in hunt.found)
    return (
        f"{vendor.upper()} ({facts.emulators[vendor]}): {hunt.schedules} schedules, "
        f"{one.covered} of {len(one.covering.schedules)} of the covering set; "
        f"{len(hunt.compared)} pairs of a vCPU's state and an event compared, "
        f"{hunt.parted} schedules parted, {len(hunt.unexplained)} of them unexplained"
        + (f"; {gone} differences did not show in fresh VMs" if gone else "")
    )


def mail_paragraph(review: Review, facts: Facts) -> str:
    """A paragraph to paste into a mail."""
    base, *others = review.names
    version = facts.versions[base]
    what = facts.patch or " and ".join(f"{one} ({facts.versions[one]})" for one in others)
    lines = [f"Tested: {what} against {base} ({version}) on real KVM with eventdiff."]
    lines += [f"{one}." for one in what_was_reached(review, facts)]
    lines += [f"{ran(vendor, one, facts)}." for vendor, one in review.reviewed.items()]
    lines += [f"{one}." for one in (*by_place(review, facts), *how_it_ended(review, facts))]
    left_out = [f"{vendor.upper()} ({why})" for vendor, why in facts.left_out.items()]
    lines.append(f"Not tested: {', '.join([*left_out, NOT_TESTED])}.")
    return textwrap.fill(" ".join(lines), 72, break_on_hyphens=False) + "\n"


def by_place(review: Review, facts: Facts) -> Iterator[str]:
    """The differences, together where they are laid to the same."""
    places: dict[str, list[str]] = {}
    for vendor, found in review.found:
        places.setdefault(laid(found), []).append(f"{vendor} {title(found)}")
    for place, titles in places.items():
        yield f"Differs{place and f', {place}'}: {'; '.join(titles)}"
    blamed = [hunk for _, found in review.found for hunk in found.hunks]
    others = [hunk for hunk in facts.hunks if not any(hunk in one for one in blamed)]
    if blamed and others:
        yield f"Nothing is laid to {'; '.join(others)}"


def what_was_reached(review: Review, facts: Facts) -> Iterator[str]:
    """Which lines of a patch were reached."""
    return sentences(review.reached) if facts.hunks and review.reviewed else iter(())


def how_it_ended(review: Review, facts: Facts) -> Iterator[str]:
    """What is to be known of a review that found nothing, or was cut off."""
    ran = sum(one.hunt.schedules for one in review.reviewed.values())
    if review.same_code:
        yield "No code changes: it is built the same"
    if review.interrupted:
        yield "The review was interrupted" + ("" if ran else " before it ran anything")
    if not review.found and ran:
        so_far = " so far" if review.interrupted else ""
        yield f"No difference{so_far}{doubt(review.reached) if facts.hunks else ''}"


def finding_text(vendor: Vendor, found: Found) -> str:
    """A finding's page: what real KVM showed side by side, and how sure that is."""
    way = found.shortest
    lines = [live_text(named(vendor, found, way), way.traces, live_splits(way.traces)).rstrip()]
    showed, times = way.repeats
    sure = "no step can be left out" if way.minimal else "not minimised to the end"
    again = (
        f"shown in {showed} of {times} runs, each in a fresh VM" if times else "not run again yet"
    )
    rules = broken_by(found)
    facts = [
        f"{again}; {sure}",
        *(
            f"breaks {rule.id}: {name}: {rule.says} [{rule.citation}]"
            for name, rule in rules.items()
        ),
        *([] if rules else ["breaks no rule of the manuals"]),
        f"explains {found.explains} schedule{'s' * (found.explains != 1)}"
        + (f", {found.by_looks} of them by their looks alone" if found.by_looks else ""),
        *(f"without this hunk it is gone: {hunk}" for hunk in found.hunks),
        *([found.between] if found.between else []),
    ]
    lines += ["", *(line for fact in facts for line in textwrap.wrap(fact, WIDTH))]
    if len(found.ways) > 1:
        lines += ["", "other ways to it:"]
    for other in found.told[1:]:
        text = "; ".join(map(step_yaml, other.schedule.steps))
        lines += textwrap.wrap(text, WIDTH, initial_indent="- ", subsequent_indent="  ")
    if more := len(found.ways) - len(found.told):
        lines.append(f"  and {more} more")
    return "\n".join([*lines, ""])


def summary(review: Review, facts: Facts) -> str:
    """`summary.md`"""
    base, *others = review.names
    lines = [f"# {facts.patch or ', '.join(others)} against {base}", ""]
    lines += [f"- {one}." for one in what_was_reached(review, facts)]
    lines += [f"- {ran(vendor, one, facts)}." for vendor, one in review.reviewed.items()]
    lines += [f"- {vendor.upper()} was not run: {why}." for vendor, why in facts.left_out.items()]
    lines += [f"- {one}." for one in how_it_ended(review, facts)]
    if review.interrupted:
        lines.append("- The same command goes on.")
    if not review.found:
        return "\n".join([*lines, ""])
    lines += ["", *(f"{one}.  " for one in by_place(review, facts))]
    columns = ("vendor", "what differs", "steps", "shown", "explains", "breaks", "trace")
    lines += ["", f"| {' | '.join(columns)} |", "| " + " | ".join("---" for _ in columns) + " |"]
    for vendor, found in review.found:
        name = name_of(vendor, found)
        way = found.shortest
        cells = [
            vendor,
            title(found),
            str(len(way.schedule.steps)),
            f"{way.repeats[0]} of {way.repeats[1]}",
            str(found.explains),
            "; ".join(f"{who}: {rule.id}" for who, rule in broken_by(found).items()),
            f"[trace]({name}/trace.txt)",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def lines_of(review: Review, facts: Facts, out: Path) -> Sequence[str]:
    """The same for a terminal."""
    lines = [*what_was_reached(review, facts)]
    lines += [ran(vendor, one, facts) for vendor, one in review.reviewed.items()]
    lines += [f"{vendor.upper()} was not run: {why}" for vendor, why in facts.left_out.items()]
    for vendor, found in review.found:
        way = found.shortest
        lines += ["", f"{vendor}: {title(found)}"]
        lines += [f"    {step_yaml(step)}" for step in way.schedule.steps]
        lines += [f"  breaks {rule.id}: {name}" for name, rule in broken_by(found).items()]
        lines += [f"  gone without {hunk}" for hunk in found.hunks]
        lines += [f"  {found.between}"] if found.between else []
        lines.append(f"  {out / name_of(vendor, found)}")
    ended = [one[0].lower() + one[1:] for one in how_it_ended(review, facts)]
    return [*lines, "", *ended, *([f"see {out / 'summary.md'}"] if review.found else [])]


def write_finding(folder: Path, base: str, vendor: Vendor, found: Found) -> None:
    """Write a difference's own folder. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    schedule = named(vendor, found, found.shortest)
    write_whole(folder / "trace.txt", finding_text(vendor, found))
    write_whole(folder / "reproducer.yaml", dump(schedule))
    trace = known(found.shortest.traces.get(base, ()))
    if len(trace) == len(schedule.steps):
        program = reproducer(schedule, f"the kernel `{base}`, run live,", trace)
        write_whole(folder / "reproducer.c", program)


def write_report(out: Path, review: Review, facts: Facts) -> None:
    """Write all of it to `out`. Raises OSError."""
    base = review.names[0]
    for vendor, found in review.found:
        write_finding(out / name_of(vendor, found), base, vendor, found)
    write_whole(out / "summary.md", summary(review, facts))
    write_whole(out / "tested.txt", mail_paragraph(review, facts))
    text = json.dumps(review_json(review), indent=1)
    write_whole(out / "review.json", text + "\n")
