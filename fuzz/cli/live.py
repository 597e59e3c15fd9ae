"""`eventdiff live`: set real KVM builds up, and run schedules on them."""

import argparse
import json
import signal
from pathlib import Path
from typing import Any

from fuzz.cli import conform
from fuzz.cli.output import TELLING, complain
from fuzz.cli.status import DIFFERENT, SAME, TROUBLE
from fuzz.compare.traces import traces_json
from fuzz.live.run import breaks, live_splits, run_live
from fuzz.live.text import live_text
from fuzz.schedule.file import files_in, read_schedule
from fuzz.schedule.schedule import Schedule, races
from variants.catalogue import BUILT_IN
from variants.live.cache import builds, host_agent, names_set_up
from variants.live.emulator import LiveError
from variants.live.host import HostAgent, host_vendor
from variants.live.runner import Build
from variants.live.setup import set_up

ABOUT = "Run schedules on real kvm.ko builds of the variants: SVM in QEMU, VMX in Bochs."
EPILOG = """\
examples:
  eventdiff live setup
  eventdiff live run corpus/seeds/svm-sipi-in-l2-then-hlt.yaml
  eventdiff live setup --kernel-patch mine.patch
  eventdiff live run --variants original,mine corpus/seeds
  eventdiff live conform
"""
SETUP_EPILOG = """\
examples:
  eventdiff live setup
  eventdiff live setup --kernel-patch mine.patch     # and the live variant `mine`
  eventdiff live setup --kernel-tree ~/linux --kernel-patch mine.patch

The cache holds what the last setup was told to have; what has been built before is not built
again. The environment's EVENTDIFF_CACHE is another way to choose the cache.
"""
RUN_EPILOG = """\
examples:
  eventdiff live run corpus/seeds/svm-sipi-in-l2-then-hlt.yaml
  eventdiff live run --variants original,mine --json corpus/seeds
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

    about = "Bring all that live runs need into a cache folder: kernel, builds, agent."
    setup = subcommands.add_parser(
        "setup", help=about, description=about, epilog=SETUP_EPILOG, formatter_class=raw
    )
    add_cache(setup)
    setup.add_argument(
        "--mirror",
        metavar="URL",
        help="Debian archive; URL-security is taken as the security archive "
        "(default: those of this machine's apt)",
    )
    setup.add_argument("--refresh", action="store_true", help="ask the mirror for a newer kernel")
    setup.add_argument(
        "--kernel-tree",
        type=Path,
        metavar="DIR",
        help="take KVM's source from this Linux 5.10 tree instead of Debian's",
    )
    setup.add_argument(
        "--kernel-patch",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="build a live variant from this unified diff, named after the file",
    )

    about = "Run schedules on live variants and show where these differ."
    run = subcommands.add_parser(
        "run", help=about, description=about, epilog=RUN_EPILOG, formatter_class=raw
    )
    run.add_argument(
        "files", nargs="+", metavar="FILE", help="schedules, or folders of them (*.yaml)"
    )
    run.add_argument("--variants", default="", metavar="A,B,..", help="(all that are set up)")
    run.add_argument(
        "--host",
        action="store_true",
        help="on this host's own KVM, if it can nest, as variant `host`; "
        "--variants says what to compare it with",
    )
    run.add_argument("--json", action="store_true", help="one object a line")
    add_cache(run)

    conform.add_parser(subcommands)


def add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="(eventdiff in the XDG cache folder)"
    )


def do_setup(options: argparse.Namespace) -> int:
    for line in set_up(
        options.cache, options.mirror, options.refresh, options.kernel_tree, options.kernel_patch
    ):
        print(line, flush=True)
    return SAME


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
    """The builds of --variants, or all there are, the project's variants in their usual order."""
    if options.variants:
        return builds(options.cache, options.variants.split(","))
    names = names_set_up(options.cache)
    return builds(options.cache, sorted(names, key=[*BUILT_IN, *names].index))


def do_run(options: argparse.Namespace) -> int:
    schedules = [read_schedule(path) for path in files_in(options.files)]
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
        if races(schedule):
            print(f"{gap}{schedule.name}: model only: a race (`at`)")
        else:
            print(gap + live_text(schedule, traces, found), end="", flush=True)
    return status


COMMANDS = {"setup": do_setup, "run": do_run, "conform": conform.do_conform}


def run(options: argparse.Namespace) -> int:
    """One command; returns the exit status. Raises LiveError and what reading schedules raises."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return COMMANDS[options.live_command](options)
