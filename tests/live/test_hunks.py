"""Which of a patch's hunks it was, and between which kernels, on real KVM."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fuzz.cli.output import TELLING
from fuzz.live.run import live_splits, run_live
from fuzz.review.blame import Hunks, laid_to
from fuzz.schedule.file import read_schedule
from tests.live.running import ROOT, SEEDS, environment, eventdiff, processes_in, wait_for
from tests.live.test_kernel_patch import CLAIM_1, FILE, FUNCTION, comment, patch_of, source_of
from variants.live.between import between, set_up_between
from variants.live.cache import builds
from variants.live.entries import SETUP, Entry, read_setup, setup_text
from variants.live.runner import Build
from variants.live.subsets import patch_hunks, subset_builds

MACRO = "#define KEEPS(vcpu) is_guest_mode(vcpu)\n"
INTERRUPTED = """
from pathlib import Path
from variants.live.subsets import subset_builds
subset_builds(Path({cache!r}), "mine", [frozenset({{one}}) for one in (1, 2, 3)])
"""


def set_up_patch(cache: Path, folder: Path) -> None:
    """A patch in three hunks: a macro, its use, with which a SIPI stays pending in L2, a comment.

    Whatever the cache holds, it has not been built yet.
    """
    use = patch_of(cache).replace("!is_guest_mode(vcpu)", "!KEEPS(vcpu)")
    _, _, text = use.partition("@@")
    first = (source_of(cache) / FILE).read_text().split("\n")[0]
    macro = f"@@ -1,1 +1,3 @@\n+/* {folder} */\n+{MACRO} {first}\n"
    shifted = re.sub(r"\+(\d+)", lambda found: f"+{int(found[1]) + 2}", f"@@{text}", count=1)
    patch = folder / "mine.patch"
    patch.write_text(f"--- a/{FILE}\n+++ b/{FILE}\n{macro}{shifted}{comment(cache, 'svm/svm.c')}")
    setup = eventdiff(cache, "live", "setup", "--kernel-patch", patch, "--on", "linux-5.10")
    assert setup.returncode == 0, setup.stderr


def test_the_hunk_that_it_was(own_cache: Path, tmp_path: Path) -> None:
    set_up_patch(own_cache, tmp_path)
    names = [str(hunk).split(", line")[0] for hunk in patch_hunks(own_cache, "mine")]
    assert names[:2] == [f"{FILE}: line 1", f"{FILE}: {FUNCTION}"]
    assert len(names) == 3
    original = builds(own_cache, ["original"])
    why = {}

    def shows(batch: Sequence[Hunks]) -> Mapping[Hunks, bool | None]:
        built = subset_builds(own_cache, "mine", batch)
        assert set(built) == set(batch)
        found: dict[Hunks, bool | None] = dict.fromkeys(batch)
        for kept, build in built.items():
            if isinstance(build, Build):
                kernels = {**original, "mine": build}
                (traces,) = run_live([read_schedule(str(CLAIM_1))], kernels, TELLING)
                found[kept] = bool(live_splits(traces))
            else:
                why[kept] = build
        return found

    laid = laid_to(3, shows)
    assert laid.sets == (frozenset({2}),)
    assert laid.unknown == {1}
    (reason,) = why.values()
    assert "lapic.c" in reason
    assert "KEEPS" in reason
    assert "\n" not in reason
    there = set((own_cache / "store").iterdir())
    again = subset_builds(own_cache, "mine", [frozenset({1, 2})])
    assert isinstance(again[frozenset({1, 2})], Build)
    assert set((own_cache / "store").iterdir()) == there


def test_interrupted_builds_leave_nothing(own_cache: Path, tmp_path: Path) -> None:
    set_up_patch(own_cache, tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(cache=str(own_cache))],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(own_cache),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as building:
        wait_for(lambda: len(processes_in(own_cache)) > 2)
        building.send_signal(signal.SIGINT)
        _, errors = building.communicate()
    assert errors.endswith(b"KeyboardInterrupt\n")
    assert processes_in(own_cache) == []
    assert list(own_cache.glob("making-*")) == []


def test_the_kernels_between_two(own_cache: Path) -> None:
    """6.17 is between a copy of 6.18 that is taken for 6.16 and 6.18: as an image of Debian's."""
    setup = read_setup(own_cache)
    copy = own_cache / "store" / "linux-6.16.1"
    shutil.copytree(own_cache / setup.variants["linux-6.18"].kernel, copy, symlinks=True)
    about = json.loads((copy / "kernel.json").read_text())
    (copy / "kernel.json").unlink()  # a link to the user's
    (copy / "kernel.json").write_text(json.dumps(about | {"version": "6.16.1-1"}))
    kernel = f"store/{copy.name}"
    variants = {**setup.variants, "linux-6.16": Entry(kernel, f"{kernel}/stock")}
    (own_cache / SETUP).write_text(setup_text(replace(setup, variants=variants)))
    assert list(set_up_between(own_cache, "linux-6.18", "original")) == ["linux-6.16"]
    assert set_up_between(own_cache, "linux-6.16", "linux-6.18") == {}
    found = between(own_cache, "linux-6.16", "linux-6.18")
    assert list(found) == ["linux-6.17"]
    assert list(read_setup(own_cache).variants) == list(variants)
    seed = read_schedule(str(SEEDS / "svm-init-startup.yaml"))
    (traces,) = run_live([seed], found, TELLING)
    assert [one.outcome for one in traces["linux-6.17"]].count("error") == 0
