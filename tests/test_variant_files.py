"""Variants in files of their users: written, read, and refused in one line."""

from pathlib import Path

import pytest

from fuzz.cli.main import main
from variants.catalogue import load_file

EXAMPLES = sorted((Path(__file__).parent.parent / "docs" / "examples").glob("*.py"))
HEAD = """from variants.variant import Variant, replaces
from variants.machine import events, run
from variants.machine.vcpu import Vcpu
"""
REPLACED = """
@replaces(run.vcpu_block)
def vcpu_block(vcpu: Vcpu) -> run.Ran:
    return run.vcpu_block(vcpu)
"""
BAD = {
    "a name the machine has not": ("@replaces(run.vcpu_blok)\ndef f(vcpu): ...", "vcpu_blok", 4),
    "another signature": (
        "@replaces(run.vcpu_block)\ndef vcpu_block(vcpu, more): ...",
        "vcpu_block(vcpu, more) cannot replace run.vcpu_block(vcpu: ",
        4,
    ),
    "no function of the machine": (
        "@replaces(print)\ndef f(vcpu): ...",
        "builtins.print is no function of the machine",
        4,
    ),
    "two of one": (
        f"{REPLACED}one = vcpu_block\n{REPLACED}\nVARIANT = Variant('mine', '', (one, vcpu_block))",
        "both replace run.vcpu_block",
        14,
    ),
    "one of none": (
        "def f(vcpu): ...\nVARIANT = Variant('mine', '', (f,))",
        "replaces nothing: mark it with @replaces",
        5,
    ),
    "not listed": (f"{REPLACED}\nVARIANT = Variant('mine', '')", "VARIANT does not list it", None),
    "held in a table": (
        f"TABLE = [events.process_nmi]\n{REPLACED.replace('return', 'TABLE; return')}\n"
        "VARIANT = Variant('mine', '', (vcpu_block,))",
        "vcpu_block: TABLE holds events.process_nmi: call it by its name instead",
        None,
    ),
    "a driver of the machine": (
        "from variants.machine import machine\n@replaces(machine.initial_vcpu)\ndef f(bsp): ...",
        "machine.initial_vcpu is no function of the machine",
        5,
    ),
    "a method": (
        "@replaces(Vcpu.request)\ndef request(self, req): ...",
        "vcpu.request is no function of the machine",
        4,
    ),
    "a generator": (
        "@replaces(run.vcpu_block)\ndef vcpu_block(vcpu):\n    yield 1",
        "vcpu_block is a generator or coroutine",
        4,
    ),
    "one name for two": (
        f"{REPLACED}\n@replaces(events.process_nmi)\ndef vcpu_block(vcpu): ...\n"
        "VARIANT = Variant('mine', '', (vcpu_block,))",
        "vcpu_block is marked with @replaces, but VARIANT does not list it",
        None,
    ),
    "in two layers": (
        f"{REPLACED}\nONE = Variant('one', '', (vcpu_block,))\n"
        "VARIANT = Variant('mine', '', (vcpu_block,), on=ONE)",
        "vcpu_block replaces run.vcpu_block in one already",
        10,
    ),
    "the machine changed": (
        "def f(vcpu): ...\nrun.vcpu_block = f\nVARIANT = Variant('mine', '')",
        "it assigns to variants.machine.run.vcpu_block",
        None,
    ),
    "a name that is taken": ("VARIANT = Variant('paolo', '')", "a variant paolo already", None),
    "no name": ("VARIANT = Variant(5, '')", "one word", None),
    "no provenance": ("VARIANT = Variant('mine', 5)", "its provenance is no text", 4),
    "no tuple": ("VARIANT = Variant('mine', '', 5)", "no tuple of functions", 4),
    "on nothing": (
        "VARIANT = Variant('mine', '', (), on=5)",
        "built on a Variant, not 5",
        4,
    ),
    "no Python": ("def f(:", "SyntaxError: invalid syntax", 4),
    "names of folders": ("VARIANT = Variant('..', '')", "one word", None),
    "a replacement of another kind": (
        "VARIANT = Variant('mine', '', ([],))",
        "[] replaces nothing: mark it with @replaces",
        4,
    ),
    "a long name": ("VARIANT = Variant('x' * 250, '')", "40 characters at most", None),
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_show_what_they_change(path: Path, tmp_path: Path) -> None:
    base = "paolo" if path.stem == "kvm_vcpu_reset" else "original"
    command = ["explore", "--no-races", "--depth", "5", "--variants", base, "--variant", str(path)]
    assert main([*command, "--json", "--out", str(tmp_path)]) == 1


def test_the_template_runs_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["variants", "--new", "mine"]) == 0
    assert "mine.py: written" in capsys.readouterr().out
    text = (tmp_path / "mine.py").read_text()
    assert "template" not in text
    assert load_file("mine.py").name == "mine"
    explore = ["explore", "--no-races", "--depth", "4", "--variants", "original"]
    assert main([*explore, "--variant", "mine.py", "--out", "out"]) == 1
    assert main(["variants", "--new", "mine"]) == 2
    assert (tmp_path / "mine.py").read_text() == text, "what is there is never overwritten"
    capsys.readouterr()
    for name in ("", "original", "a b", "../x", "1", "class", "json", "fuzz", "variants", "yaml"):
        assert main(["variants", "--new", name]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert [one.name for one in tmp_path.glob("*.py")] == ["mine.py"]


def test_a_difference_is_a_diff_of_our_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["variants", "--diff", "yadong", "paolo"]) == 1
    first, _, diff = capsys.readouterr().out.partition("\n")
    assert first == (
        "yadong and paolo differ in events.kvm_apic_accept_events, "
        "vmx.vmx_apic_init_signal_blocked, vmx.sync_vmcs02_to_vmcs12"
    )
    assert "--- yadong: variants/machine/vmx.py\n+++ paolo: variants/paolo/model.py\n" in diff
    assert "\n+        vcpu.pending_events &= ~KVM_APIC_INIT\n" in diff
    assert main(["variants", "--diff", "paolo", "paolo"]) == 0
    assert capsys.readouterr().out == "paolo and paolo differ in nothing\n"
    assert main(["variants", "--diff", "paolo", "nobody"]) == 2


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_one_line(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body, said, line = BAD[what]
    own = tmp_path / "mine.py"
    own.write_text(f"{HEAD}{body}\n")
    assert main(["variants", "--variant", str(own)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"eventdiff: {own}{f':{line}' if line else ''}: ")
    assert said in error
    assert len(error) < 300 + len(str(own))


def test_a_file_is_read_anew(tmp_path: Path) -> None:
    """Also if it has changed within a second, and not in size."""
    own = tmp_path / "mine.py"
    for name in ("one", "two"):
        own.write_text(f"{HEAD}VARIANT = Variant('{name}', '')\n")
        assert load_file(str(own)).name == name
    assert list(tmp_path.iterdir()) == [own], "and nothing is left beside it"


def test_functions_without_a_source_differ_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "mine.py"
    body = "text = 'def vcpu_block(vcpu): return run.vcpu_block(vcpu)'\nexec(text)\n"
    mark = "VARIANT = Variant('mine', '', (replaces(run.vcpu_block)(vcpu_block),))\n"
    own.write_text(f"{HEAD}{body}{mark}")
    assert main(["variants", "--variant", str(own), "--diff", "original", "mine"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("original and mine differ in run.vcpu_block\n")
    assert "+vcpu_block: no source\n" in out


def test_a_dataclass_with_future_annotations_loads(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        f"{HEAD}\n@dataclass\nclass Own:\n    number: int\n{REPLACED}\n"
        "VARIANT = Variant('mine', '', (vcpu_block,))\n"
    )
    assert load_file(str(own)).name == "mine"


def test_a_point_that_is_none_ends_a_campaign_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "mine.py"
    own.write_text(
        "from variants.machine import svm\n"
        "from variants.machine.preemption import preempt\n"
        "from variants.variant import Variant, replaces\n\n"
        "@replaces(svm.svm_set_gif)\n"
        "def svm_set_gif(vcpu, value):\n"
        "    preempt(vcpu, 'set-gif')\n"
        "    svm.svm_set_gif(vcpu, value)\n\n"
        "VARIANT = Variant('mine', '', (svm_set_gif,))\n"
    )
    command = ["fuzz", "--time", "500", "--variants", "original", "--variant", str(own)]
    assert main([*command, "--vendor", "svm", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "eventdiff: variant mine: no such preemption point: set-gif\n"
    )
