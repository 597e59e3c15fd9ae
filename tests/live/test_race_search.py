"""A search for messages that are lost finds the window that a patch opens."""

import difflib
import json
from pathlib import Path

from fuzz.schedule.file import read_schedule
from tests.live.running import eventdiff
from tests.live.test_kernel_patch import FILE, source_of

TAKEN = "xchg(&apic->pending_events, 0);"
WIDTH = 40


def window_patch(cache: Path) -> str:
    """A kernel that clears more than it has read: what comes in between is lost."""
    old = (source_of(cache) / FILE).read_text()
    between = "".join(
        f"\tif (READ_ONCE(apic->sipi_vector) == {number}) cpu_relax();\n" for number in range(WIDTH)
    )
    new = old.replace(TAKEN, f"READ_ONCE(apic->pending_events);\n{between}\t{TAKEN}")
    assert new.count(TAKEN) == old.count(TAKEN) == 1
    names = (f"a/{FILE}", f"b/{FILE}")
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), *names))


def test_the_window_that_a_patch_opens_is_found(own_cache: Path, tmp_path: Path) -> None:
    patch, out = tmp_path / "window.patch", tmp_path / "out"
    patch.write_text(window_patch(own_cache))
    setup = ("live", "setup", "--kernel-patch", patch, "--instrument", "window")
    done = eventdiff(own_cache, *setup)
    assert done.returncode == 0, done.stderr

    search = ("live", "races", "--variants", "window", "--vendor", "svm", "--out", out)
    run = eventdiff(own_cache, *search, "--time", "30", "--json")
    assert run.returncode == 1, run.stderr
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert {one["file"] for one in found} == set(map(str, out.glob("*.yaml")))
    assert found
    for one in found:
        assert one["lost_by"] == ["window+inside"]
        parts = [part for part in one["races"]["window+inside"]["intervals"] if part["rules"]]
        ends = [end.split()[0] for part in parts for end in part["where"]]
        assert set(ends) == {"kvm_apic_accept_events"}
        assert read_schedule(one["file"], blocks=True).about.count(one["rule"]) == 1

    again = eventdiff(own_cache, "live", "races", "--json", "--variants", "window", out)
    rules = [
        {rule["rule"] for part in race["intervals"] for rule in part["rules"]}
        for line in again.stdout.splitlines()
        for race in json.loads(line)["races"].values()
    ]
    assert all(rules)

    later = eventdiff(own_cache, *search, "--time", "1", "--json")
    assert later.returncode == 1, later.stderr
    assert later.stdout == ""
