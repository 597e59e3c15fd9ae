"""Real traces are ruled as the models' are."""

import json
from pathlib import Path
from typing import Any

from tests.live.running import SEEDS, eventdiff

GOLDEN = SEEDS.parent / "golden"
SHOWING = ("liveness", "visible")
"""Of the reproducers those that have something to rule on."""


def ruled(cache: Path, *options: str | Path) -> list[dict[str, Any]]:
    run = eventdiff(cache, "judge", "--json", *options)
    assert run.returncode == 1, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_real_kvm_breaks_the_rules_that_the_models_break(cache: Path) -> None:
    """Of the variants of 5.10, in every seed, and every fourth reproducer without a race."""
    golden = [
        file
        for file in sorted(GOLDEN.glob("*.yaml"))
        if ", at: " not in file.read_text() and any(kind in file.stem for kind in SHOWING)
    ]
    files = [*sorted(SEEDS.glob("*.yaml")), *golden[::4]]
    models = ruled(cache, *files)
    assert any(one["rulings"]["yadong"] for one in models)
    assert ruled(cache, "--live", *files) == models
