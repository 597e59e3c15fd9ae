"""A patch in, differences out: found, minimised and laid to a hunk on real KVM."""

import difflib
import json
from pathlib import Path
from typing import Any

from tests.live.running import eventdiff
from tests.live.test_kernel_patch import FILE, FUNCTION, comment, patch_of, source_of


def reviewed(cache: Path, patch: Path, out: Path, seconds: int) -> tuple[int, dict[str, Any]]:
    """The exit status and what `review --json` printed."""
    run = eventdiff(
        cache,
        *("review", patch, "--on", "linux-5.10", "--vendor", "svm"),
        *("--time", str(seconds), "--json", "--out", out),
    )
    assert run.returncode in (0, 1), run.stderr
    return run.returncode, json.loads(run.stdout)


def test_a_patch_is_laid_to_its_hunk(own_cache: Path, tmp_path: Path) -> None:
    patch = tmp_path / "mine.patch"
    patch.write_text(patch_of(own_cache) + comment(own_cache, "svm/svm.c"))
    out = tmp_path / "out"
    status, told = reviewed(own_cache, patch, out, 10)
    assert status == 1
    assert (told["base"], told["other"], told["vendors"]) == ("original", "mine", ["svm"])
    assert told["unexplained"] == 0
    for finding in told["findings"]:
        assert finding["repeats"] == [3, 3], finding
        assert len(finding["hunks"]) == 1
        assert finding["hunks"][0].startswith(f"{FILE}: {FUNCTION}, line ")
        steps = finding["schedule"]["steps"]
        assert finding["length"] == len(steps)
        assert any(
            step.get("icr", {}).get("mode") == "sipi" or "set-mp-state" in step for step in steps
        )
    assert "against original (5.10" in " ".join((out / "tested.txt").read_text().split())
    for file in out.glob("*/reproducer.yaml"):
        again = eventdiff(own_cache, "live", "run", "--variants", "original,mine", file)
        assert again.returncode == 1, again.stdout

    journal = (out / "journal.jsonl").read_bytes()
    _, later = reviewed(own_cache, patch, out, 10)
    titles = [{finding["title"] for finding in one["findings"]} for one in (told, later)]
    assert titles[0] <= titles[1]
    assert (out / "journal.jsonl").read_bytes().startswith(journal)


def unreached_patch(cache: Path) -> tuple[str, int]:
    """A patch of two hunks, and the line of its second: one reads a field where each interrupt is
    delivered; the other drops those of lowest priority, which no schedule sends."""
    old = (source_of(cache) / FILE).read_text()
    new = before(
        old, "int kvm_apic_set_irq(", "return __apic_accept_irq(", "READ_ONCE(vcpu->mode);"
    )
    lost = "if (!trig_mode)\n\t\t\treturn 0;"
    new = before(new, "int __apic_accept_irq(", "vcpu->arch.apic_arb_prio++;", lost)
    names = (f"a/{FILE}", f"b/{FILE}")
    diff = "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), *names))
    return diff, new[: new.index(lost)].count("\n") + 1


def before(text: str, function: str, place: str, added: str) -> str:
    """C source with a statement before another, which is the first such in a function."""
    at = text.index(place, text.index(function + "struct"))
    return f"{text[:at]}{added}\n\t\t{text[at:]}"


def test_a_hunk_that_nothing_reaches(own_cache: Path, tmp_path: Path) -> None:
    diff, line = unreached_patch(own_cache)
    patch, out = tmp_path / "lowest.patch", tmp_path / "out"
    patch.write_text(diff)
    status, told = reviewed(own_cache, patch, out, 10)
    assert (status, told["findings"]) == (0, [])
    reached = told["reached"]
    assert reached["not_reached"] == [f"{FILE}:{line}", f"{FILE}:{line + 1}"]
    assert {one["verdict"] for one in reached["lines"] if one["hunk"] == 1} == {"reached"}
    for name in ("tested.txt", "summary.md"):
        said = " ".join((out / name).read_text().split())
        assert f"Hunk 2 was not reached: {FILE}:{line}, {line + 1}" in said
        assert "No difference, but hunk 2 was not reached" in said


def test_a_patch_that_changes_nothing(own_cache: Path, tmp_path: Path) -> None:
    patch = tmp_path / "plain.patch"
    patch.write_text(comment(own_cache, "svm/svm.c"))
    status, told = reviewed(own_cache, patch, tmp_path / "out", 10)
    assert (status, told["findings"]) == (0, [])
    assert told["schedules"] >= 100


def test_a_schedule_that_ends_the_kernel(own_cache: Path, tmp_path: Path) -> None:
    old = (source_of(own_cache) / FILE).read_text()
    start = old.index("WARN_ON_ONCE(", old.index(f"void {FUNCTION}("))
    new = f"{old[:start]}BUG_ON(is_guest_mode(vcpu));\n\t\t{old[start:]}"
    names = (f"a/{FILE}", f"b/{FILE}")
    text = "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), *names))
    patch = tmp_path / "bug.patch"
    patch.write_text(text)
    status, told = reviewed(own_cache, patch, tmp_path / "out", 10)
    assert status == 1
    (finding,) = [one for one in told["findings"] if "the kernel" in one["title"]]
    assert "kernel BUG at" in finding["title"]
    assert finding["repeats"] == [3, 3]
