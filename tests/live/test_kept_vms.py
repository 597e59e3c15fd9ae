"""Schedules in a VM that others have run in show what they show in one of their own.

The agent is built to compare all of the guest's memory before each schedule with that of a VM that
has run nothing, and to die where it differs.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fuzz.live.sample import sample
from fuzz.schedule.text import schedule_json
from variants.catalogue import choose
from variants.live.agent_build import build_agent
from variants.live.artefacts import Store
from variants.live.cache import builds
from variants.live.runner import Report, run
from variants.machine.step import Vendor


@pytest.fixture
def agent(cache: Path) -> Path:
    return build_agent(Store(cache), "-DCOMPARE_MEMORY") / "agent"


def sent_to(to: str, schedule: dict[str, Any]) -> dict[str, Any]:
    """With every ICR write a broadcast: none must reach the vCPUs of an earlier schedule."""
    steps = [
        {"icr": {**step["icr"], "to": to}} if "icr" in step else step for step in schedule["steps"]
    ]
    return {**schedule, "steps": steps}


@pytest.mark.parametrize(("vendor", "count"), [("svm", 200), ("vmx", 30)])
def test_a_kept_vm_shows_what_a_fresh_one_does(
    cache: Path, agent: Path, vendor: Vendor, count: int
) -> None:
    variants = choose("original", [], least=1)
    chosen = sample(vendor, variants, count, seed=7).schedules
    assert len(chosen) == count
    plain = [schedule_json(schedule) for schedule in chosen]
    plain += [sent_to(to, schedule) for to in ("all", "others") for schedule in plain[: count // 8]]
    build = replace(builds(cache, ["original"])["original"], agent=agent)
    report = Report([])
    kept, fresh = (run(plain, build, vendor, report, fresh=fresh) for fresh in (False, True))
    assert report.troubles == []
    assert kept == fresh
