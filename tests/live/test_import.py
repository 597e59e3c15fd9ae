"""A schedule run on real KVM, traced, and made a schedule again."""

from pathlib import Path

import pytest

from fuzz.schedule.file import read_schedule
from fuzz.trace.read import read_trace
from tests.live.running import SEEDS
from tests.test_import import signals
from tests.traces.record import record
from variants.live.cache import builds


@pytest.mark.parametrize("name", ["svm-init-startup", "vmx-init-signal"])
def test_what_is_traced_comes_back(name: str, cache: Path) -> None:
    seed = read_schedule(str(SEEDS / f"{name}.yaml"))
    (build,) = builds(cache, ["original"]).values()
    (found,) = read_trace(record(build, seed).splitlines(), "trace", None).schedules
    assert found.vendor == seed.vendor
    assert signals(found) == signals(seed)
