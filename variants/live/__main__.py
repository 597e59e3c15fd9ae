"""`python -m variants.live FILE..`: the traces of schedules on live variants, as JSON lines."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from variants.live.cache import builds
from variants.live.emulator import LiveError
from variants.live.protocol import Refused, encode
from variants.live.runner import run_variants
from variants.live.setup import main as setup


def load(paths: list[Path]) -> list[dict[str, Any]]:
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*.yaml")) if path.is_dir() else [path])
    ]
    found = []
    for file in files:
        schedule = yaml.safe_load(file.read_text())
        schedule.setdefault("name", file.stem)
        try:
            encode(0, schedule)
        except Refused as refused:
            print(f"{file}: {refused}", file=sys.stderr)
            continue
        found.append(schedule)
    return found


def main() -> int:
    if sys.argv[1:2] == ["setup"]:
        return setup(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m variants.live", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--variants", default="original,yadong,paolo")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    schedules = load(args.files)
    try:
        for vendor in ("svm", "vmx"):
            mine = [schedule for schedule in schedules if schedule["vendor"] == vendor]
            if not mine:
                continue
            start = time.monotonic()
            traces, reports = run_variants(
                mine, builds(args.cache, args.variants.split(",")), vendor, os.cpu_count() or 1
            )
            for number, schedule in enumerate(mine):
                show(schedule, {name: traces[name][number] for name in traces}, args.json)
            for name, report in reports.items():
                for trouble in report.troubles:
                    print(f"{vendor} {name}: {trouble}", file=sys.stderr)
                print(
                    f"{vendor} {name}: {len(mine)} schedules, {report.boots} boots, "
                    f"{report.milliseconds} ms in the agent",
                    file=sys.stderr,
                )
            print(f"{vendor}: {time.monotonic() - start:.1f} s", file=sys.stderr)
    except LiveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def show(schedule: dict[str, Any], traces: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {"schedule": schedule["name"], "vendor": schedule["vendor"], "traces": traces}
            )
        )
        return
    print(schedule["name"])
    for number, step in enumerate(schedule["steps"]):
        print(f"  {number} {step}")
        for name, trace in traces.items():
            if number < len(trace):
                seen = {k: v for k, v in trace[number].items() if v not in (None, False, [])}
                print(f"      {name:10} {seen}")


if __name__ == "__main__":
    sys.exit(main())
