"""A developer's patch against its base, with no Python: built, run, compared."""

import difflib
import json
import re
import shutil
import signal
from pathlib import Path

from tests.live.running import SEEDS, SET_UP, eventdiff, processes_in, start, wait_for
from variants.live.entries import SETUP, read_setup

CLAIM_1 = SEEDS / "svm-sipi-in-l2-then-hlt.yaml"
FILE = "arch/x86/kvm/lapic.c"
FUNCTION = "kvm_apic_accept_events"
MODEL = """
from variants.variant import Variant
from variants.yadong.model import kvm_apic_accept_events

VARIANT = Variant("mine", "yadong's half outside VMX alone", (kvm_apic_accept_events,))
"""
"""The same in Python."""


def kernel_of(cache: Path) -> Path:
    return cache / read_setup(cache).variants["original"].kernel


def source_of(cache: Path) -> Path:
    return kernel_of(cache) / "source"


def patch_of(cache: Path) -> str:
    """A patch that keeps a SIPI in guest mode, made from the source that is there."""
    old = (source_of(cache) / FILE).read_text()
    warns = old.index("WARN_ON_ONCE(", old.index(f"void {FUNCTION}("))
    test = old.index("if (", warns) + len("if (")
    new = f"{old[:test]}!is_guest_mode(vcpu) && {old[test:]}"
    names = (f"a/{FILE}", f"b/{FILE}")
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), *names))


def names_in(cache: Path) -> list[str]:
    return list(json.loads((cache / SETUP).read_text())["variants"])


def test_a_patch_is_compared_with_its_base(own_cache: Path, tmp_path: Path) -> None:
    patch = tmp_path / "mine.patch"
    # Whatever the cache holds, this one has not been built yet.
    patch.write_text(f"Subject: {tmp_path}\n\n{patch_of(own_cache)}")
    arguments = ("live", "setup", "--kernel-patch", patch)

    with start(own_cache, tmp_path, *arguments) as setup:
        wait_for(lambda: len(processes_in(own_cache)) > 2)
        setup.send_signal(signal.SIGTERM)
        _, errors = setup.communicate()
    assert (setup.returncode, errors) == (2, "eventdiff: interrupted\n")
    wait_for(lambda: not processes_in(own_cache), 5)
    assert list(own_cache.glob("making-*")) == []
    assert names_in(own_cache) == SET_UP

    setup_again = eventdiff(own_cache, *arguments)
    assert setup_again.returncode == 0, setup_again.stderr
    assert f"mine: changes {FUNCTION}\n" in setup_again.stdout
    assert names_in(own_cache) == [*SET_UP[:3], "mine", *SET_UP[3:]]

    run = eventdiff(own_cache, "live", "run", "--json", "--variants", "original,mine", CLAIM_1)
    assert run.returncode == 1, run.stderr
    assert json.loads(run.stdout)["divergences"] == [
        {"step": 3, "groups": [["original"], ["mine"]]}
    ]

    assert f"mine: modelled, so a variant in Python can replace: events.{FUNCTION}\n" in (
        setup_again.stdout
    )
    model = tmp_path / "mine.py"
    model.write_text(MODEL)
    conform = ("live", "conform", "--json", "--cache", own_cache, "--variant", model)
    held = eventdiff(own_cache, *conform, "--samples", "40,0", "--vendor", "svm", CLAIM_1)
    assert held.returncode == 0, held.stdout + held.stderr
    assert json.loads(held.stdout)["svm"]["mine"]["schedules"] == 41

    patch.write_text(patch.read_text().replace("!is_guest_mode(vcpu) && ", ""))
    stale = eventdiff(own_cache, "live", "run", "--variants", "original,mine", CLAIM_1)
    assert stale.returncode == 2
    assert stale.stderr.count("\n") == 1
    assert f"{patch} has changed" in stale.stderr


def test_a_patch_that_kills_the_kernel_is_trouble(own_cache: Path, tmp_path: Path) -> None:
    """The kernel panics when L2's vCPU takes its INIT, in step 3: no verdict from there on."""
    source = (source_of(own_cache) / FILE).read_text()
    at = source.index("kvm_vcpu_reset(", source.index(f"void {FUNCTION}("))
    patch = tmp_path / "mine.patch"
    names = (f"a/{FILE}", f"b/{FILE}")
    lines = (source.splitlines(True), f"{source[:at]}BUG();{source[at:]}".splitlines(True))
    patch.write_text("".join(difflib.unified_diff(*lines, *names)))
    setup = eventdiff(own_cache, "live", "setup", "--kernel-patch", patch)
    assert setup.returncode == 0, setup.stderr
    seed = SEEDS / "svm-init-startup.yaml"
    run = eventdiff(own_cache, "live", "run", "--json", "--variants", "original,mine", seed)
    assert run.returncode == 2, run.stdout
    why = rf"QEMU ended \(status 0\): kernel BUG at {FILE}:\d+!, given up at step 3\n"
    assert re.search(f"live mine: svm-init-startup: {why}", run.stderr), run.stderr
    shown = json.loads(run.stdout)
    assert shown["divergences"] == []
    original, mine = shown["traces"]["original"], shown["traces"]["mine"]
    assert (original[:3], len(original)) == (mine[:3], 5)
    assert [one["outcome"] for one in mine[3:]] == ["error"]


def test_a_patch_that_does_not_apply_changes_nothing(own_cache: Path, tmp_path: Path) -> None:
    before = (own_cache / SETUP).read_text()
    patch = tmp_path / "mine.patch"
    patch.write_text(patch_of(own_cache).replace("WARN_ON_ONCE", "BUG_ON"))
    run = eventdiff(own_cache, "live", "setup", "--kernel-patch", patch)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert f"does not apply: {FILE}: hunk 1 at line" in run.stderr
    assert (own_cache / SETUP).read_text() == before
    assert list(own_cache.glob("making-*")) == []


def test_a_patch_that_does_not_compile_is_one_line(own_cache: Path, tmp_path: Path) -> None:
    patch = tmp_path / "mine.patch"
    patch.write_text(patch_of(own_cache).replace("!is_guest_mode(", "!no_such_thing("))
    run = eventdiff(own_cache, "live", "setup", "--kernel-patch", patch)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "lapic.c:" in run.stderr
    assert "no_such_thing" in run.stderr
    assert list(own_cache.glob("making-*")) == []


def test_a_series_is_built_patch_by_patch(own_cache: Path, tmp_path: Path) -> None:
    """Three mails out of order: a comment, yadong's half, a comment."""
    subjects = ("[PATCH 1/3] one", "[PATCH 2/3] two", "[PATCH 3/3] three")
    marks = [comment(own_cache, name) for name in ("svm/svm.c", "vmx/vmx.c")]
    mails = [
        f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nSubject: {subject}\n\n---\n{diff}\n"
        for subject, diff in zip(subjects, [marks[0], patch_of(own_cache), marks[1]], strict=True)
    ]
    series = tmp_path / "mine.mbox"
    series.write_text(mails[2] + mails[0] + mails[1])
    setup = eventdiff(own_cache, "live", "setup", "--kernel-patch", series, "--each")
    assert setup.returncode == 0, setup.stderr
    parts = [f"mine@{number}" for number in (1, 2, 3)]
    assert names_in(own_cache) == [*SET_UP[:3], "mine", *parts, *SET_UP[3:]]
    names = ["original", *parts]
    run = eventdiff(own_cache, "live", "run", "--json", "--variants", ",".join(names), CLAIM_1)
    assert json.loads(run.stdout)["divergences"] == [{"step": 3, "groups": [names[:2], names[2:]]}]

    gone = eventdiff(own_cache, "live", "remove", "mine")
    assert gone.returncode == 0, gone.stderr
    assert names_in(own_cache) == SET_UP
    assert not list((own_cache / "store").glob("kvm-mine*"))


def comment(cache: Path, name: str) -> str:
    """A patch that adds a comment at the end of a file of KVM."""
    old = (source_of(cache) / "arch/x86/kvm" / name).read_text().splitlines(True)
    names = (f"a/arch/x86/kvm/{name}", f"b/arch/x86/kvm/{name}")
    return "".join(difflib.unified_diff(old, [*old, "/* the end */\n"], *names))


def test_a_tree_of_the_users_own(own_cache: Path, tmp_path: Path) -> None:
    """A tree of Debian's version with a changed KVM, beside the kernel that it is of."""
    kernel, tree = kernel_of(own_cache), tmp_path / "linux"
    (headers,) = (kernel / "headers").resolve().parent.glob("*-common")
    shutil.copytree(kernel / "source", tree)
    for folder in ("include", "arch/x86/include"):
        shutil.copytree(headers / folder, tree / folder, dirs_exist_ok=True)
    version = json.loads((kernel / "kernel.json").read_text())["version"].split("-")[0].split(".")
    parts = zip(("VERSION", "PATCHLEVEL", "SUBLEVEL", "EXTRAVERSION"), [*version, ""], strict=True)
    (tree / "Makefile").write_text("".join(f"{name} = {part}\n" for name, part in parts))
    file = tree / FILE
    file.write_text(file.read_text().replace("WARN_ON_ONCE(", "WARN_ON_ONCE(0 && ", 1))
    setup = eventdiff(own_cache, "live", "setup", "--kernel-tree", tree)
    assert setup.returncode == 0, setup.stderr
    assert names_in(own_cache) == [*SET_UP, "linux"]
    run = eventdiff(own_cache, "live", "run", "--json", "--variants", "linux-5.10,linux", CLAIM_1)
    assert run.returncode == 0, run.stderr
    traces = json.loads(run.stdout)["traces"]
    assert [trace[-1]["outcome"] for trace in traces.values()] == ["blocked", "blocked"]

    patch = tmp_path / "mine.patch"
    patch.write_text(patch_of(own_cache))
    eventdiff(own_cache, "live", "setup", "--kernel-patch", patch, "--on", "linux")
    refused = eventdiff(own_cache, "live", "remove", "linux")
    assert refused.returncode == 2
    assert refused.stderr == "eventdiff: mine is built on linux: remove it first, or with it\n"
