"""`eventdiff replay --live`: what the models do beside what real KVM does."""

import json
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from fuzz.cli.output import TELLING
from fuzz.cli.status import DIFFERENT, SAME, TROUBLE
from fuzz.compare.traces import Traces, traces_json
from fuzz.live.run import breaks, live_splits, run_live, unlike, why_not
from fuzz.live.text import both_text
from fuzz.report.replay import Replay, replay_json
from fuzz.report.trace import trace_text
from variants.catalogue import BUILT_IN, built_in
from variants.live.bochs import bochs_of
from variants.live.cache import builds, names_set_up
from variants.live.emulator import LiveError
from variants.live.entries import STOCK, canonical
from variants.live.runner import Build


def with_kernels(names: str) -> tuple[str, list[str]]:
    """`--variants` cut in two: models, and live variants that have none. Raises LiveError."""
    if not names:
        return "", []
    given = [canonical(name) for name in names.split(",")]
    there = names_set_up(None)
    alone = [name for name in given if name.removesuffix(STOCK) in there and name not in built_in()]
    return ",".join(name for name in given if name not in alone), alone


def built_of(names: Sequence[str]) -> dict[str, Build]:
    """The builds of those of `names` that have one. Raises LiveError if none has.

    A model of the user's own need not have a build; the project's variants must.
    """
    there = names_set_up(None)
    found = builds(
        None, [name for name in names if name.removesuffix(STOCK) in there or name in BUILT_IN]
    )
    if not found:
        raise LiveError(f"no live build of {', '.join(names)}; see `eventdiff live setup --help`")
    return found


def show_live(results: Sequence[Replay], kernels: Mapping[str, Build], as_json: bool) -> int:
    """Print each result with its live run; 1 if variants differ, or model and live do.

    2 if a live run broke off.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = SAME

    def parts(number: int, live: Traces) -> bool:
        return unlike(results[number].traces, live) or bool(live_splits(live))

    schedules = [result.schedule for result in results]
    lives = run_live(schedules, kernels, TELLING, parts=parts)
    bochs = bochs_of(kernels.values())
    for number, (result, live) in enumerate(zip(results, lives, strict=True)):
        apart = result.divergences or parts(number, live)
        found = DIFFERENT if apart else SAME
        status = max(status, TROUBLE if breaks(live) else found)
        if as_json:
            print(json.dumps(with_live(result, live)))
            continue
        text = f"{trace_text(result)}model only: {why_not(result.schedule, kernels)}\n"
        if live:
            text = both_text(result, live, bochs)
        print(("\n" if number else "") + text, end="", flush=True)
    return status


def with_live(result: Replay, live: Traces) -> dict[str, Any]:
    """What `replay --live --json` prints: `live` holds the live variants' traces, as `traces`."""
    plain = replay_json(result)
    divergences = plain.pop("divergences")
    return plain | {"live": traces_json(live), "divergences": divergences}
