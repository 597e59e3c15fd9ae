"""`eventdiff live`: set real KVM builds up, and run schedules on them."""

import argparse
import json
import signal
from typing import Any

from fuzz.cli import conform, coverage, kernels, races, review
from fuzz.cli.kernels import add_cache
from fuzz.cli.output import TELLING, complain
from fuzz.cli.status import DIFFERENT, SAME, TROUBLE
from fuzz.compare.traces import traces_json
from fuzz.live.run import breaks, live_splits, run_live, why_not
from fuzz.live.text import live_text
from fuzz.schedule.file import files_in, read_schedule
from fuzz.schedule.schedule import Schedule
from variants.live.cache import builds, host_agent, names_set_up
from variants.live.emulator import LiveError
from variants.live.host import HostAgent, host_vendor
from variants.live.runner import Build

ABOUT = "Run schedules on real kvm.ko builds of the variants: SVM in QEMU, VMX in Bochs."
EPILOG = """\
examples:
  eventdiff live setup
  eventdiff live run corpus/seeds/svm-sipi-in-l2-then-hlt.yaml
  eventdiff live setup --kernel 6.12 --kernel-patch mine.patch
  eventdiff live run --variants linux-6.12,mine corpus/seeds
  eventdiff live conform
"""
RUN_EPILOG = """\
examples:
  eventdiff live run corpus/seeds/svm-sipi-in-l2-then-hlt.yaml
  eventdiff live run --variants linux-5.10,linux-6.12,mine --json corpus/seeds
  eventdiff live run --host corpus/seeds/svm-init-startup.yaml

exit status: 0 the variants agree, 1 they differ, 2 trouble
"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `live` to the commands of `eventdiff`."""
    raw = argparse.RawDescriptionHelpFormatter
    help_line = "Run schedules on real KVM, no special hardware needed."
    live = commands.add_parser(
        "live", help=help_line, description=ABOUT, epilog=EPILOG, formatter_class=raw
    )
    subcommands = live.add_subparsers(dest="live_command", required=True, metavar="COMMAND")

    kernels.add_parsers(subcommands)

    about = "Run schedules on live variants and show where these differ."
    run = subcommands.add_parser(
        "run", help=about, description=about, epilog=RUN_EPILOG, formatter_class=raw
    )
    run.add_argument(
        "files", nargs="*", metavar="FILE", help="schedules, or folders of them (*.yaml)"
    )
    run.add_argument("--variants", default="", metavar="A,B,..", help="(all that are set up)")
    run.add_argument(
        "--host",
        action="store_true",
        help="on this host's own KVM, if it can nest, as variant `host`; "
        "--variants says what to compare it with",
    )
    run.add_argument(
        "--coverage",
        action="store_true",
        help="instead of traces: the basic blocks of KVM's event path that the schedules reach, on "
        "instrumented builds (live setup --instrument); without FILE those of the covering set",
    )
    run.add_argument("--json", action="store_true", help="one object a line")
    add_cache(run)

    races.add_races(subcommands)
    review.add_compare(subcommands)
    conform.add_parser(subcommands)


def of_host(schedules: list[Schedule]) -> list[Schedule]:
    """The schedules that the host's own KVM can run. Raises LiveError if it can run none."""
    vendor = host_vendor()
    mine = [schedule for schedule in schedules if schedule.vendor == vendor]
    if not mine:
        raise LiveError(f"this host's KVM runs {vendor} schedules only")
    if len(mine) < len(schedules):
        left_out = len(schedules) - len(mine)
        complain(f"{left_out} schedules are not {vendor}: left out")
    return mine


def chosen_builds(options: argparse.Namespace) -> dict[str, Build]:
    """The builds of --variants, or all there are."""
    names = options.variants.split(",") if options.variants else names_set_up(options.cache)
    return builds(options.cache, names)


def do_run(options: argparse.Namespace) -> int:
    if options.coverage:
        return coverage.do_coverage(options)
    if not options.files:
        raise LiveError("name the schedules to run")
    schedules = [read_schedule(path, blocks=True) for path in files_in(options.files)]
    kernels: dict[str, Build | HostAgent] = {}
    if options.host:
        schedules = of_host(schedules)
        kernels["host"] = host_agent(options.cache)
    if options.variants or not options.host:
        kernels |= chosen_builds(options)
    status = SAME
    for number, (schedule, traces) in enumerate(
        zip(schedules, run_live(schedules, kernels, TELLING), strict=True)
    ):
        found = live_splits(traces)
        status = max(status, TROUBLE if breaks(traces) else DIFFERENT if found else SAME)
        if options.json:
            shown = {
                "schedule": schedule.name,
                "vendor": schedule.vendor,
                "traces": traces_json(traces),
                "divergences": [split._asdict() for split in found],
            }
            print(json.dumps(shown), flush=True)
            continue
        gap = "\n" if number else ""
        if not traces:
            reason = why_not(schedule, kernels)
            print(f"{gap}{schedule.name}: not run: these builds cannot have its race: {reason}")
        else:
            print(gap + live_text(schedule, traces, found), end="", flush=True)
    return status


COMMANDS = {
    **kernels.COMMANDS,
    "run": do_run,
    "races": races.do_races,
    "compare": review.do_compare,
    "conform": conform.do_conform,
}


def run(options: argparse.Namespace) -> int:
    """One command; returns the exit status. Raises LiveError and what reading schedules raises."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return COMMANDS[options.live_command](options)
