"""A search for messages that are lost finds the window that a patch opens."""

import difflib
import json
import signal
from pathlib import Path

from tests.live.running import eventdiff, start, wait_for
from tests.live.test_kernel_patch import FILE, source_of

TAKEN = "xchg(&apic->pending_events, 0);"
WIDTH = 40
PATIENCE = 900
"""Seconds in which it is found; some 60 on an idle machine, boots and minimising included."""


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
    with start(own_cache, tmp_path, *search, "--time", "1h") as run:
        wait_for(lambda: any(out.glob("*.yaml")), PATIENCE, run)
        run.send_signal(signal.SIGINT)
        printed, errors = run.communicate()
    assert (run.returncode, errors) == (2, "eventdiff: interrupted\n")
    (path,) = out.glob("*.yaml")
    assert printed in ("", f"{path}:\n{path.read_text()}\n")

    again = eventdiff(own_cache, "live", "races", "--json", "--variants", "window", path)
    assert again.returncode == 1, again.stderr
    told = json.loads(again.stdout)["races"]["window+inside"]
    ends = [end.split()[0] for part in told["intervals"] if part["rules"] for end in part["where"]]
    assert set(ends) == {"kvm_apic_accept_events"}

    later = eventdiff(own_cache, *search, "--time", "1", "--json")
    assert (later.returncode, later.stdout, later.stderr) == (1, "", "")
