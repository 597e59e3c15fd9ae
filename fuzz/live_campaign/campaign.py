"""A session of a live campaign: fuzzer processes with emulators, and a collector with its own."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import NamedTuple

from fuzz.campaign.campaign import (
    FuzzerError,
    Progress,
    Recruit,
    Settings,
    asked_to_end,
    clock,
    fuzz,
    noting,
    program_version,
)
from fuzz.campaign.collector import now
from fuzz.campaign.folder import CORPUS, enter, holds_campaign, make_room
from fuzz.campaign.inputs import add_inputs
from fuzz.campaign.statistics import Statistics
from fuzz.compare.traces import Traces
from fuzz.live.run import Telling, run_once
from fuzz.live_campaign.collector import Announce, Collector
from fuzz.live_campaign.coverage import carry_over, write_coverage
from fuzz.live_campaign.report import Outcome, write_summary
from fuzz.review.journal import NAME, Journal, OtherBuilds, Run
from fuzz.review.review import GRACE, MOST_BROKEN
from fuzz.schedule.schedule import Schedule
from variants.live.artefacts import key_of
from variants.live.cache import identities
from variants.live.guests import Guests, guests
from variants.live.hunks import Hunk
from variants.live.runner import Build


class Kernels(NamedTuple):
    """What is compared, by variant, the base first. plain: as they are. inside: instrumented.
    patches: the hunks of those that are patches."""

    plain: Mapping[str, Build]
    inside: Mapping[str, Build]
    patches: Mapping[str, Sequence[Hunk]]


def run(
    settings: Settings,
    kernels: Kernels,
    recruit: Recruit,
    announce: Announce,
    progress: Progress,
    trouble: Callable[[str], None],
) -> Outcome:
    """Run a session: until one of `settings.ends`, or a signal that asks for it.

    recruit: how to get a crew. trouble: told what went wrong with a schedule that is minimised.
    Raises FolderError if the folder cannot be used, LiveError when nothing can be run, OSError when
    it cannot be written, and FuzzerError once the reports are.
    """
    out, builds = settings.out, kernels.plain
    told_apart = identities(builds)
    with ExitStack() as stack:
        before = enter(stack, out, settings.resume)
        asked = stack.enter_context(asked_to_end())
        up = stack.enter_context(guests(len(builds) * len(settings.vendors)))
        ran, seconds = clock(out, before), settings.ends.seconds
        session = before.sessions + 1

        def going_on() -> bool:
            late = seconds is not None and ran()[1] > before.seconds + seconds + GRACE
            return not late and not asked()

        about = {
            "version": program_version(),
            "vendors": list(settings.vendors),
            "mix": settings.mix,
            "compared": {"variants": {name: key_of(one) for name, one in told_apart.items()}},
            "began": before.told.get("began", now()),
            "session": {
                "number": session,
                "schedules": before.schedules,
                "seconds": round(before.seconds, 3),
            },
        }
        if not holds_campaign(out):
            # Before anything else is there: without it no session goes on.
            write_summary(out, Outcome(tuple(builds), about, *ran(), {}, {}, (), 0, 0, 0))
        journal = journal_of(settings, told_apart, running(builds, up, trouble))
        carry_over(out, session, kernels.inside)
        collector = Collector(list(builds), settings, journal, about, ran, announce, going_on)
        collector.restore(before.told)
        collector.report()
        collector.write_summary()
        # campaign.json has the counts of earlier sessions now.
        make_room(out, settings.vendors, session, seeds=False)
        add_inputs(out / CORPUS, settings.given, settings.mix)
        crew = recruit(settings, session)
        stack.callback(crew.stop)
        statistics = Statistics(out, before.seconds)
        pulse = noting(settings, before.seconds)
        wrong = fuzz(settings, crew, collector, statistics, pulse, asked, progress)
        collector.write_summary()
        said = write_coverage(out, session, kernels.inside, kernels.patches)
        if wrong:
            raise FuzzerError(wrong)
        return collector.outcome()._replace(coverage=tuple(said))


def running(builds: Mapping[str, Build], up: Guests, trouble: Callable[[str], None]) -> Run:
    """How the journal has schedules run."""
    telling = Telling(trouble, lambda _: nullcontext(lambda: None))

    def run_some(schedules: Sequence[Schedule], fresh: bool) -> Sequence[Traces]:
        return run_once(schedules, builds, telling, len(builds), fresh, MOST_BROKEN, up)

    return run_some


def journal_of(settings: Settings, identities: Mapping[str, str], run_some: Run) -> Journal:
    """That of the campaign; a new one, where kernels have changed since. Raises OSError."""
    try:
        return Journal(settings.out, identities, run_some)
    except OtherBuilds:
        (settings.out / NAME).unlink()
        return Journal(settings.out, identities, run_some)
