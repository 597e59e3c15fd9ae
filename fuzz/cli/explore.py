"""`eventdiff explore`: options, processes (one a vendor and alphabet), output."""

import argparse
import json
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.cli import breaches
from fuzz.cli.cluster import add_arguments as add_cluster
from fuzz.cli.cluster import joined
from fuzz.cli.output import show_line
from fuzz.cli.pool import side_by_side
from fuzz.cli.reports import finish
from fuzz.cli.status import DIFFERENT, SAME
from fuzz.cli.variants import complain_of_races
from fuzz.compare.compared import compared
from fuzz.explore.certificate import certificate, differences, result
from fuzz.explore.exhaustive import UNEXPLORED, Explored, explore, merged, parts
from fuzz.findings.finding import grouped
from fuzz.page.page import PAGE
from fuzz.report.folder import findings_json, summary, write_form, write_traces
from fuzz.report.replay import automaton_of
from fuzz.report.ruled import Ruled, ruled
from fuzz.schedule.alphabet import Alphabet, alphabet_of, usual_alphabets, usual_words, words_of
from fuzz.schedule.file import write_whole
from fuzz.schedule.schedule import printable
from fuzz.schedule.text import schedule_json
from fuzz.shrink.minimize import minimize
from variants.catalogue import choose
from variants.machine.step import VENDORS, Vendor
from variants.variant import Variant

EXAMPLE = """\
examples:
  eventdiff explore                                    both vendors, races included
  eventdiff explore --no-races                         likewise, without them: a few minutes
  eventdiff explore --vendor svm --no-races --steps usual,nmi,smi --depth 8
  eventdiff explore --variants original --variant mine.py --no-races
  eventdiff explore --judge --no-races --depth 6       every rule that each variant breaks
  eventdiff explore --check reports/explored/certificate.json

--steps takes words of the schedule format: step names (hlt, vmrun, ..) and ICR modes (init, sipi,
nmi, smi, fixed), `usual` (INIT, SIPI, every instruction and ioctl) or `all`. Unless told, the usual
steps are explored to the end alone, with NMIs, with SMIs, with interrupts, and with races.
"""


class AlphabetError(Exception):
    """A word of --steps that means nothing: one line."""


class Request(NamedTuple):
    """A vendor's exploration with one alphabet."""

    vendor: Vendor
    variants: str
    alphabet: Alphabet
    depth: int | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eventdiff explore`, besides those that choose variants."""
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--vendor", choices=VENDORS, help="one vendor only")
    parser.add_argument("--depth", type=depth, metavar="N", help="schedules of N steps at most")
    parser.add_argument("--steps", default="", metavar="A,B,..", help="the alphabet, see below")
    parser.add_argument("--no-races", action="store_true", help="leave out `at` steps")
    parser.add_argument("--out", type=Path, default=Path("reports/explored"), metavar="DIR")
    parser.add_argument("--check", type=Path, metavar="CERTIFICATE", help="explore again, compare")
    add_cluster(parser.add_mutually_exclusive_group())
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--all", action="store_true", help="list all findings, and what latent ones lead to"
    )
    parser.add_argument(
        "--judge", action="store_true", help="each variant alone: every rule that it breaks"
    )


def depth(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of steps from 1, not {text!r}")
    return int(text)


def alphabets(steps: str, vendor: Vendor, races: bool) -> tuple[Alphabet, ...]:
    """The alphabets of --steps for `vendor`; raises AlphabetError for a word that means nothing."""
    if not steps:
        return usual_alphabets(vendor, races)
    words: dict[str, None] = {}
    known = dict.fromkeys(word for one in VENDORS for word in words_of(one))
    for word in steps.split(","):
        if word == "all":
            words |= known
        elif word == "usual":
            words |= dict.fromkeys(usual_words(vendor))
        elif word in known:
            words[word] = None
        else:
            raise AlphabetError(f"--steps: {word!r} is none of all, usual, {', '.join(known)}")
    chosen = [word for word in words_of(vendor) if word in words]
    return (alphabet_of(vendor, chosen, races),)


def run(request: Request, files: Sequence[str]) -> Explored:
    """Explore; on a terminal, say now and then how far it is."""
    began = time.monotonic()

    def progress(depth: int, states: int, transitions: int, signatures: int) -> None:
        elapsed = time.monotonic() - began
        line = f"{request.vendor} {elapsed:.0f} s: depth {depth}, {states} states, "
        show_line(f"{line}{transitions / elapsed:,.0f} transitions/s, {signatures} signatures")

    subject = compared(request.vendor, choose(request.variants, files))
    explored = explore(subject, request.alphabet, request.depth, progress)
    show_line()
    return explored


def do_explore(options: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    if options.judge:
        races = not options.no_races
        vendors = [options.vendor] if options.vendor else VENDORS
        chosen = {vendor: alphabets(options.steps, vendor, races) for vendor in vendors}
        return breaches.do_judge(options, chosen)
    asked = {
        "vendors": [options.vendor] if options.vendor else list(VENDORS),
        "steps": options.steps,
        "races": not options.no_races,
        "bound": options.depth,
        "variant_options": [options.variants, *(str(Path(p).resolve()) for p in options.variant)],
    }
    certified: dict[str, Any] = {}
    if options.check:
        certified = read_certificate(options.check)
        asked = {key: certified[key] for key in asked}
    named, *files = asked["variant_options"]
    steps, races, bound = asked["steps"], asked["races"], asked["bound"]
    chosen = {vendor: alphabets(steps, vendor, races) for vendor in asked["vendors"]}
    variants = choose(named, files)
    if not options.check:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / PAGE).unlink(missing_ok=True)
    requests = {
        vendor: [Request(vendor, named, part, bound) for part in parts(some)]
        for vendor, some in chosen.items()
    }
    # Races first: they take the longest.
    tasks = sorted(chain(*requests.values()), key=lambda one: not one.alphabet.points)
    with joined(options) as client:
        done = dict(zip(tasks, side_by_side(run, tasks, files, client), strict=True))
    explored = {
        vendor: merged([done[one] or UNEXPLORED for one in some])
        for vendor, some in requests.items()
    }
    found = {**certificate(variants, chosen, asked), **result(explored)}
    if options.check:
        wrong = differences(certified, found)
        same = f"{printable(str(options.check))}: explored again, all the same"
        print("\n".join(map(printable, wrong)) if wrong else same)
        return DIFFERENT if wrong else SAME
    findings = write_reports(options.out, explored, found, variants, named, files)
    said = finish(options.out, options.all)
    if options.json:
        print(json.dumps(explored_json(explored) | {"findings": findings_json(findings, {})}))
    else:
        print(said, end="")
        if options.all:
            print("\n".join(["", *what_latent_ones_lead_to(explored, bound)]))
    complain_of_races(variants, [form for one in findings for form in one.finding.forms])
    if findings:
        return DIFFERENT
    if any(one.interrupted for one in explored.values()):
        raise KeyboardInterrupt
    return SAME


def read_certificate(path: Path) -> dict[str, Any]:
    """The certificate in `path`. Raises AlphabetError if it is none."""
    try:
        certified: dict[str, Any] = json.loads(path.read_text())
        missing = {"vendors", "steps", "races", "bound", "variant_options"} - certified.keys()
    except (ValueError, AttributeError):
        raise AlphabetError(f"{path}: not a certificate") from None
    if missing:
        raise AlphabetError(f"{path}: not a certificate, {min(missing)!r} is missing")
    hashed = isinstance(certified.get("variants", {}), dict)
    mine = set(certified["vendors"]) <= set(VENDORS) and certified["variant_options"]
    if not hashed or not mine:
        raise AlphabetError(f"{path}: not a certificate of this program's")
    return certified


def write_reports(
    out: Path,
    explored: dict[Vendor, Explored],
    found: dict[str, Any],
    variants: Sequence[Variant],
    named: str,
    files: list[str],
) -> list[Ruled]:
    """Write what a campaign writes, and the certificate; the findings."""
    options = ["--variants", named] if named else []
    for file in files:
        options += ["--variant", file]
    automata = {vendor: automaton_of(vendor, variants) for vendor in explored}
    forms = []
    for vendor, one in explored.items():
        for form in one.found.values():
            smallest = minimize(automata[vendor], form.schedule, form.divergence.signature)
            forms.append(form._replace(schedule=smallest))
            write_form(out, automata[vendor], forms[-1], options)
    findings = ruled(automata, variants[0].name, grouped(variants, forms))
    write_traces(out, findings, options, {})
    lines = what_latent_ones_lead_to(explored, found["bound"])
    latent = "".join(f"- {line}\n" for line in lines)
    tables = summary("Exploration", extent(found), forms, findings)
    write_whole(out / "summary.md", f"{tables}\n## Latent differences\n\n{latent}")
    write_whole(out / "certificate.json", json.dumps(found, indent=1) + "\n")
    return findings


def what_latent_ones_lead_to(explored: dict[Vendor, Explored], bound: int | None) -> list[str]:
    """For each latent signature, what it shows as and after how many steps, a line each."""
    lines = []
    for one in explored.values():
        within = f"within {bound} steps" if bound and not one.interrupted else "so far"
        for signature, finding in sorted(one.found.items()):
            if finding.divergence.kind != "latent":
                continue
            if signature not in one.shown:
                lines.append(f"{signature}: not seen to show {within}, not followed to an end")
            elif later := one.shown[signature]:
                steps = len(later.schedule.steps)
                lines.append(f"{signature}: {steps} steps, {later.divergence.signature}")
            else:
                lines.append(f"{signature}: never shows")
    return lines


def extent(found: dict[str, Any]) -> str:
    """How much was explored, in a few words."""
    end = "to the fixpoint" if found["fixpoint"] else "not to the end"
    return (
        f"{found['states']} states, {found['transitions']} transitions, "
        f"depth {found['depth']}, {end}"
    )


def explored_json(explored: dict[Vendor, Explored]) -> dict[str, Any]:
    """What `--json` prints."""
    found = result(explored)
    schedules = {
        str(signature): schedule_json(finding.schedule)
        for one in explored.values()
        for signature, finding in one.found.items()
    }
    for described in found["signatures"]:
        described["schedule"] = schedules[described["signature"]]
    return found
