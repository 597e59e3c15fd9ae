"""Do campaigns find the same, all there is, and as short as it gets?

Runs `eventdiff fuzz` once a seed, and holds the campaigns against each other and against what
`eventdiff explore` found.

    python -m bench.agreement [--seconds S] [--seeds N] [--certificate FILE].. [--json]

Without --certificate it is corpus/exhaustive.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.report.folder import slug

HERE = Path(__file__).resolve().parent.parent
CERTIFICATES = (HERE / "corpus" / "exhaustive.json",)


class Campaign(NamedTuple):
    """reproducers: by signature, the text. lengths: by signature, in steps."""

    seed: int
    schedules: int
    reproducers: dict[str, str]
    lengths: dict[str, int]


def run(seed: int, seconds: int) -> Campaign:
    """A campaign as a user runs it."""
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        command = [sys.executable, "-m", "fuzz.cli", "fuzz", "--json", "--out", folder]
        command += ["--time", str(seconds), "--seed", str(seed)]
        ran = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True)
        told: dict[str, Any] = json.loads(ran.stdout)
        names = [one["signature"] for one in told["signatures"]]
        files = {name: Path(folder) / slug(name) / "reproducer.yaml" for name in names}
        return Campaign(
            seed,
            told["schedules"],
            {name: file.read_text() for name, file in files.items()},
            {one["signature"]: one["length"] for one in told["signatures"]},
        )


def explored(certificates: Iterable[Path]) -> dict[str, int]:
    """Every signature there is, with the length of its shortest schedule."""
    shortest: dict[str, int] = {}
    for path in certificates:
        for one in json.loads(path.read_text())["signatures"]:
            known = shortest.get(one["signature"], one["length"])
            shortest[one["signature"]] = min(known, one["length"])
    return shortest


def compare(campaigns: Sequence[Campaign], there: dict[str, int]) -> dict[str, Any]:
    """Figures a campaign, and what all have in common."""
    common = set.intersection(*(set(one.lengths) for one in campaigns))
    union = set.union(*(set(one.lengths) for one in campaigns))
    same = [n for n in common if len({one.reproducers[n] for one in campaigns}) == 1]
    return {
        "explored": len(there),
        "campaigns": [
            {
                "seed": one.seed,
                "schedules": one.schedules,
                "signatures": len(one.lengths),
                "missed": sorted(there.keys() - one.lengths.keys()),
                "not explored": sorted(one.lengths.keys() - there.keys()),
                "longer": {
                    name: [length, there[name]]
                    for name, length in one.lengths.items()
                    if name in there and length > there[name]
                },
            }
            for one in campaigns
        ],
        "in all campaigns": len(common),
        "only in some": sorted(union - common),
        "same reproducer": len(same),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.agreement")
    parser.add_argument("--seconds", type=int, default=60, help="a campaign (60)")
    parser.add_argument("--seeds", type=int, default=2, help="campaigns (2)")
    parser.add_argument("--certificate", type=Path, action="append", metavar="FILE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    there = explored(options.certificate or CERTIFICATES)
    campaigns = [run(seed, options.seconds) for seed in range(1, options.seeds + 1)]
    result = compare(campaigns, there)
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['explored']} signatures explored")
    for one in result["campaigns"]:
        print(f"seed {one['seed']}: {one['schedules']} schedules, {one['signatures']} signatures")
        for what in ("missed", "not explored"):
            print(f"  {what}: {len(one[what])}")
            print("".join(f"    {name}\n" for name in one[what]), end="")
        print(f"  longer than the shortest: {len(one['longer'])}")
        for name, (length, shortest) in one["longer"].items():
            print(f"    {length} for {shortest}: {name}")
    print(f"in all campaigns: {result['in all campaigns']}, only in some:")
    print("".join(f"    {name}\n" for name in result["only in some"]), end="")
    print(f"the same reproducer in all: {result['same reproducer']}")


if __name__ == "__main__":
    main()
