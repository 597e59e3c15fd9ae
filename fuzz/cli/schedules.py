"""`eventdiff replay`, `minimize` and `convert`: commands on schedules that one has."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from fuzz.cli.live_replay import built_of, show_live, with_kernels
from fuzz.cli.output import complain, write
from fuzz.cli.status import DIFFERENT, SAME
from fuzz.memory.automaton import Automaton
from fuzz.report.folder import slug
from fuzz.report.replay import automaton_of, replay, replay_json
from fuzz.report.trace import trace_text
from fuzz.schedule import codes, text
from fuzz.schedule.file import is_yaml, read_data, read_schedule, schedule_in, write_whole
from fuzz.schedule.schedule import ScheduleError
from fuzz.shrink.minimize import minimize
from variants.catalogue import choose
from variants.machine.step import Vendor
from variants.variant import Variant


def add_replay(parser: argparse.ArgumentParser) -> None:
    """The options of `replay`, besides those that choose variants."""
    parser.epilog = "example: eventdiff replay corpus/seeds/svm-sipi-in-l2-then-hlt.yaml"
    parser.add_argument("files", nargs="+", metavar="FILE", help="schedules, YAML or bytes")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument(
        "--live", action="store_true", help="beside what real KVM does (see `eventdiff live setup`)"
    )


def add_minimize(parser: argparse.ArgumentParser) -> None:
    """The options of `minimize`, besides those that choose variants."""
    parser.epilog = "example: eventdiff minimize big.yaml > small.yaml"
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--signature", help="which divergence, if not the first")


def add_convert(parser: argparse.ArgumentParser) -> None:
    """The options of `convert`."""
    parser.epilog = "example: eventdiff convert case.yaml case.bin"
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("output", nargs="?", metavar="OUT", help="(standard output)")


class Automata(dict[Vendor, Automaton]):
    """An automaton a vendor, made when first asked for."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        self.variants = variants

    def __missing__(self, vendor: Vendor) -> Automaton:
        self[vendor] = automaton_of(vendor, self.variants)
        return self[vendor]


def do_replay(options: argparse.Namespace) -> int:
    schedules = [read_schedule(path) for path in options.files]
    if options.live:
        names, kernels = with_kernels(options.variants)
        variants = choose(names, options.variant, least=1)
        automata = Automata(variants)
        results = [replay(automata[schedule.vendor], schedule) for schedule in schedules]
        wanted = [*(variant.name for variant in variants), *kernels]
        return show_live(results, built_of(wanted), options.json)
    automata = Automata(choose(options.variants, options.variant))
    status = SAME
    for number, schedule in enumerate(schedules):
        result = replay(automata[schedule.vendor], schedule)
        if result.divergences:
            status = DIFFERENT
        if options.json:
            print(json.dumps(replay_json(result)))
        else:
            print(("\n" if number else "") + trace_text(result), end="")
    return status


def do_minimize(options: argparse.Namespace) -> int:
    schedule = read_schedule(options.file)
    variants = choose(options.variants, options.variant)
    automaton = automaton_of(schedule.vendor, variants)
    shown = {str(one.signature): one.signature for _, one in automaton.compare(schedule)}
    if not shown:
        complain(f"{options.file}: the variants agree, nothing to minimize")
        return SAME
    wanted = options.signature or next(iter(shown))
    if wanted not in shown:
        raise ScheduleError(f"{options.file}: does not show {wanted!r}, but {'; '.join(shown)}")
    smallest = minimize(automaton, schedule, shown[wanted])
    named = smallest._replace(name=slug(shown[wanted]), about=wanted)
    write(text.dump(named).encode())
    return DIFFERENT


def do_convert(options: argparse.Namespace) -> int:
    data = read_data(options.file)
    schedule = schedule_in(data, options.file)
    from_yaml = is_yaml(data, options.file)
    converted = codes.encode(schedule) if from_yaml else text.dump(schedule).encode()
    if options.output:
        write_whole(Path(options.output), converted)
    else:
        write(converted)
    return SAME
