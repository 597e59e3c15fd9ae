"""How long does a campaign take to find everything there is?

Runs `eventdiff fuzz --until-complete` once a seed, as a user does, one after the other, with as
many processes as it starts by itself, and asks it to end at once when all is found: what it would
then do is hold its schedules against shortest ones. Other work on the machine makes it slower: so
schedules and processor seconds are told beside the time, and the machine's load.

    python -m bench.complete [--seeds N] [--limit S] [--certificate FILE] [--json]

Without --certificate it is corpus/exhaustive.json.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from fuzz.campaign.folder import holds_campaign
from fuzz.page.read import told_in

ROOT = Path(__file__).resolve().parent.parent
CERTIFICATE = ROOT / "corpus" / "exhaustive.json"
LOOK = 1.0
"""Seconds between two looks at what a campaign has found."""
LAST = 5
"""How many signatures of a campaign are called its last."""


class Campaign(NamedTuple):
    """A campaign. seconds, schedules: to its last signature. processor: seconds, of all its
    processes, to its end. load: the machine's, when it had ended. missing: signatures that it did
    not find within the limit. last: those it found last, the very last first."""

    seed: int
    seconds: float
    schedules: int
    processor: float
    load: float
    missing: list[str]
    last: list[str]


def processor_seconds() -> float:
    """What the processes that have ended have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(seed: int, limit: int, certificate: Path) -> Campaign:
    """A campaign as a user runs it."""
    wanted = {one["signature"] for one in json.loads(certificate.read_text())["signatures"]}
    before = processor_seconds()
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--out", folder]
        command += ["--until-complete", str(certificate), "--time", str(limit)]
        command += ["--seed", str(seed)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as campaign:
            end = time.monotonic() + limit
            while campaign.poll() is None and time.monotonic() < end:
                if wanted <= {one["signature"] for one in found_in(Path(folder))}:
                    break
                time.sleep(LOOK)
            for _ in range(2):
                campaign.send_signal(signal.SIGTERM)
                time.sleep(LOOK)
        told = found_in(Path(folder))
    found = sorted((one for one in told if one["signature"] in wanted), key=when, reverse=True)
    if not found:
        raise SystemExit(f"seed {seed}: nothing of {certificate} was found in {limit} s")
    names = [one["signature"] for one in found]
    return Campaign(
        seed,
        when(found[0]),
        found[0]["first"]["schedules"],
        round(processor_seconds() - before, 1),
        round(os.getloadavg()[0], 1),
        sorted(wanted - set(names)),
        names[:LAST],
    )


def found_in(folder: Path) -> list[dict[str, Any]]:
    """The signatures of the campaign there, as far as it is."""
    return told_in(folder)[1]["signatures"] if holds_campaign(folder) else []


def when(signature: dict[str, Any]) -> float:
    """The second in which a signature was first seen."""
    return float(signature["first"]["seconds"])


def summary(campaigns: Sequence[Campaign]) -> str:
    """The median and the slowest, and what came last, most often first."""
    done = [one for one in campaigns if not one.missing]
    lines = [f"complete: {len(done)} of {len(campaigns)}"]
    for column in ("seconds", "schedules", "processor"):
        values = [getattr(one, column) for one in done]
        if values:
            lines.append(f"{column}: median {median(values):,.0f}, most {max(values):,.0f}")
    often = Counter(name for one in campaigns for name in [*one.missing, *one.last])
    lines += [f"among the last {LAST}, or missing:"]
    lines += [f"  {times:3}  {name}" for name, times in often.most_common(10)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.complete")
    parser.add_argument("--seeds", type=int, default=10, help="campaigns (10)")
    parser.add_argument("--limit", type=int, default=600, help="seconds for each (600)")
    parser.add_argument("--certificate", type=Path, default=CERTIFICATE, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    campaigns = []
    for seed in range(1, options.seeds + 1):
        one = run(seed, options.limit, options.certificate.resolve())
        campaigns.append(one)
        if not options.json:
            print(f"seed {seed}: {one.seconds:.1f} s, {one.schedules:,} schedules, ", end="")
            print(f"{one.processor:.1f} processor seconds, load {one.load}, ", end="")
            print(f"{len(one.missing)} missing; last: {one.last[0]}", flush=True)
    if options.json:
        print(json.dumps([one._asdict() for one in campaigns]))
    else:
        print(summary(campaigns))


if __name__ == "__main__":
    main()
