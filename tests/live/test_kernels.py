"""Kernels beside 5.10: an image of today, as it came."""

import json
from pathlib import Path

from tests.live.running import KERNELS, SEEDS, eventdiff

(IMAGE,) = (f"linux-{series}" for series in KERNELS)
CLAIM_1 = SEEDS / "svm-sipi-in-l2-then-hlt.yaml"


def test_the_seeds_run_on_a_kernel_of_today(cache: Path) -> None:
    run = eventdiff(cache, "live", "run", "--json", "--variants", f"linux-5.10,{IMAGE}", SEEDS)
    assert run.returncode in (0, 1), run.stderr
    shown = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(shown) == len(list(SEEDS.glob("*.yaml")))
    for one in shown:
        lengths = {len(trace) for trace in one["traces"].values()}
        assert len(lengths) == 1
        assert list(one["traces"]) == ["linux-5.10", IMAGE]


def test_a_kernel_without_a_model_beside_models(cache: Path) -> None:
    run = eventdiff(cache, "replay", "--live", "--variants", f"original,yadong,{IMAGE}", CLAIM_1)
    assert run.returncode == 1, run.stderr
    assert "no model" in run.stdout
    assert "yadong: live KVM agrees with the model in 4 of 4 steps" in run.stdout
    conform = eventdiff(cache, "live", "conform", "--variants", IMAGE, CLAIM_1)
    assert conform.returncode == 2
    assert conform.stderr.count("\n") == 1


def test_what_is_offered_and_set_up(cache: Path) -> None:
    shown = eventdiff(cache, "live", "kernels", "--json")
    assert shown.returncode == 0, shown.stderr
    kernels = json.loads(shown.stdout)
    assert kernels["set up"][IMAGE]["source"] == "image only"
    assert kernels["set up"]["original"]["source"] == "yes"
    assert {"5.10", *KERNELS} <= {one["series"] for one in kernels["offered"]}
    text = eventdiff(cache, "live", "kernels", *KERNELS).stdout
    assert f"  {IMAGE} " in text
    assert text.splitlines()[-1].startswith(KERNELS[0])


def test_a_patch_needs_source(own_cache: Path, tmp_path: Path) -> None:
    patch = tmp_path / "mine.patch"
    patch.write_text("--- a/virt/kvm/x.c\n+++ b/virt/kvm/x.c\n@@ -1 +1 @@\n-a\n+b\n")
    run = eventdiff(own_cache, "live", "setup", "--kernel-patch", patch, "--on", IMAGE)
    assert run.returncode == 2
    assert f"{IMAGE} is an image without source" in run.stderr
    assert run.stderr.count("\n") == 1
