"""`eventdiff fuzz --confirm`: is a model's divergence also one of real KVM?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fuzz.compare.signature import Form, Signature
from fuzz.compare.traces import Traces
from fuzz.live.run import Telling, known, live_splits, quirk, run_live, unlike, why_not
from fuzz.live.text import both_text
from fuzz.memory.automaton import Automaton
from fuzz.report.folder import (
    CONFIRMED,
    MODEL_ONLY,
    NOT_REPRODUCED,
    Outcome,
    Verdict,
    slug,
    write_summary,
    write_traces,
)
from fuzz.report.replay import Replay, replay
from fuzz.report.trace import trace_text
from fuzz.schedule.file import write_whole
from variants.live.bochs import Version, bochs_of
from variants.live.runner import Build
from variants.machine.step import Vendor

Kernels = Mapping[str, Build]
"""Builds by variant name."""


def out_of_reach(finding: Form, kernels: Kernels) -> str:
    """Why live runs cannot tell, "" if they can."""
    if finding.divergence.kind == "latent":
        return "it does not show"
    names = [name for group in finding.divergence.groups for name in group]
    missing = [name for name in names if name not in kernels]
    if missing:
        return f"no live build of {', '.join(missing)}"
    return why_not(finding.schedule, kernels)


def verdict_of(finding: Form, result: Replay, live: Traces, bochs: Version | None) -> Verdict:
    """Confirmed if the live variants part at the same step as the models, and as they do.

    result: what the models do. bochs: as in `quirk_of`. A quirk of the emulator that explains why
    not is the reason. A run that broke off before it could tell says nothing about KVM.
    """
    signature = finding.signature
    step = next(at for at, one in result.divergences if one.signature == signature)
    wanted = {frozenset(group) for group in finding.divergence.groups}
    parted = [
        set(map(frozenset, split.groups)) for split in live_splits(live) if split.step == step
    ]
    if wanted in parted:
        return Verdict(CONFIRMED)
    if any(len(known(seen)) <= step for seen in live.values()):
        return Verdict(MODEL_ONLY, "the live run broke off")
    quirks = [
        quirk(finding.schedule, result.traces[name], seen, bochs) for name, seen in live.items()
    ]
    return Verdict(NOT_REPRODUCED, next((f"quirk {why}" for why in quirks if why), ""))


def verdicts_of(
    findings: Sequence[Form],
    automata: Mapping[Vendor, Automaton],
    kernels: Kernels,
    out: Path,
    telling: Telling,
) -> dict[Signature, Verdict]:
    """Run the findings' reproducers live; the verdicts by signature, also in their folders."""
    reasons = [out_of_reach(finding, kernels) for finding in findings]
    todo = [finding for finding, reason in zip(findings, reasons, strict=True) if not reason]
    schedules = [finding.schedule for finding in todo]
    models = [replay(automata[one.vendor], one).traces for one in schedules]

    def parts(number: int, live: Traces) -> bool:
        return bool(live_splits(live)) or unlike(models[number], live)

    lives = iter(run_live(schedules, kernels, telling, parts=parts))
    bochs = bochs_of(kernels.values())
    verdicts = {}
    for finding, reason in zip(findings, reasons, strict=True):
        live = {} if reason else next(lives)
        signature = finding.signature
        result = replay(automata[finding.schedule.vendor], finding.schedule)
        verdict = Verdict(MODEL_ONLY, reason)
        if not reason:
            verdict = verdict_of(finding, result, live, bochs)
        folder = out / slug(signature)
        shown = both_text(result, live, bochs) if live else trace_text(result)
        write_whole(folder / "live.txt", f"{verdict}\n\n{shown}")
        verdicts[signature] = verdict
    return verdicts


def confirm(
    outcome: Outcome,
    automata: Mapping[Vendor, Automaton],
    kernels: Kernels,
    out: Path,
    options: Sequence[str],
    telling: Telling,
) -> dict[Signature, Verdict]:
    """Confirm a campaign and say so in its reports; {}, and they stay as they were, on Ctrl-C.

    options: what makes `replay` compare the same variants.

    Raises LiveError when nothing can be run, OSError when reports cannot be written.
    """
    try:
        verdicts = verdicts_of(outcome.forms, automata, kernels, out, telling)
    except KeyboardInterrupt:
        telling.trouble("interrupted, nothing is confirmed")
        return {}
    write_summary(out, outcome, options, verdicts)
    write_traces(out, outcome.findings, options, verdicts)
    return verdicts
