"""What the type checker refuses before anything runs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RIGHT = """
from fuzz.memory.numbers import StepId, VcpuId
from variants.machine import run, svm
from variants.machine.preemption import preempt
from variants.machine.vcpu import Vcpu
from variants.variant import Variant, replaces


def ordered(vcpu: VcpuId, step: StepId) -> None: ...


def ordering(vcpu: VcpuId, step: StepId) -> None:
    ordered(vcpu, step)


@replaces(svm.svm_smi_allowed)
def svm_smi_allowed(vcpu: Vcpu, for_injection: bool) -> int:
    preempt(vcpu, "block-checked")
    return svm.svm_smi_allowed(vcpu, for_injection)


@replaces(run.kvm_vcpu_block)
def kvm_vcpu_block(vcpu: Vcpu) -> bool:
    return run.kvm_vcpu_block(vcpu)


VARIANT = Variant("mine", "right", (svm_smi_allowed, kvm_vcpu_block))
"""
WRONG = {
    "ordered(vcpu, step)": "ordered(step, vcpu)",
    "for_injection: bool)": "for_injection: str)",
    '"block-checked"': '"block-chekced"',
    "kvm_vcpu_block(vcpu: Vcpu) -> bool:": "kvm_vcpu_block(vcpu: Vcpu) -> str:",
    "(svm.svm_smi_allowed)": "(svm.svm_smi_alowed)",
}
"""What is right, and how it goes wrong."""


def refused_lines(folder: Path, name: str, text: str) -> set[int]:
    """The lines in which mypy finds an error. Each text has a `name`: mypy's memory goes by that,
    the size and the second."""
    (folder / name).write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", name]
    environment = {**os.environ, "MYPYPATH": str(ROOT), "MYPY_FORCE_COLOR": "0"}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    said = [line.split(":") for line in ran.stdout.splitlines() if ": error: " in line]
    assert {file for file, *_ in said} <= {name}, ran.stdout + ran.stderr
    assert ran.returncode == (1 if said else 0), ran.stdout + ran.stderr
    return {int(number) for _, number, *_ in said}


def test_what_mypy_refuses(tmp_path: Path) -> None:
    """Each mistake where it is: at the function, the mark above it or its body."""
    assert refused_lines(tmp_path, "right.py", RIGHT) == set()
    for number, (right, mistake) in enumerate(WRONG.items()):
        assert RIGHT.count(right) == 1
        line = RIGHT[: RIGHT.index(right)].count("\n") + 1
        text = RIGHT.replace(right, mistake)
        refused = refused_lines(tmp_path, f"wrong{number}.py", text)
        assert refused, mistake
        assert refused <= set(range(line - 1, line + 3)), mistake
