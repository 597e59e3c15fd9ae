"""C programs on real KVM: compiled, run in a guest system, no agent in it."""

import gzip
import subprocess
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import NamedTuple

from variants.live.agent_build import AGENT
from variants.live.cache import builds
from variants.live.emulator import boot
from variants.live.initramfs import archive
from variants.live.machines import bochs, qemu
from variants.live.runner import VENDOR_MODULE
from variants.machine.step import Vendor

INIT = Path(__file__).with_name("init.c")


class BootError(Exception):
    """A guest system that ended before its programs had: how, and what it had printed."""


class Ended(NamedTuple):
    """A program's exit status, and its lines."""

    status: int
    lines: list[str]


def gcc(program: Path, *sources: str | Path) -> Path:
    """`program`, compiled; sources: files, and gcc's own options."""
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-static"]
    subprocess.run([*command, f"-I{AGENT}", "-o", program, *sources], check=True)
    return program


def run_on(
    cache: Path,
    folder: Path,
    variant: str,
    vendor: Vendor,
    programs: Sequence[Path],
    processors: int = 1,
) -> list[Ended]:
    """What the programs print where `variant` is the kernel's KVM, one after another.

    folder: for scratch. processors: of the guest system; more than one for SVM alone. Raises
    BootError.
    """
    build = builds(cache, [variant])[variant]
    init = gcc(folder / "init", INIT, AGENT / "system.c", AGENT / "die.c")
    executable = {f"reproducer-{n}": program for n, program in enumerate(programs)}
    modules = {name: build.modules / name for name in ("kvm.ko", VENDOR_MODULE[vendor])}
    modules["irqbypass.ko"] = build.irqbypass
    files = {"init": (init.read_bytes(), 0o100755), "dev": (b"", 0o040755)}
    files |= {name: (file.read_bytes(), 0o100755) for name, file in executable.items()}
    files |= {name: (file.read_bytes(), 0o100644) for name, file in modules.items()}
    svm = vendor == "svm"
    machine = (
        qemu(build.vmlinuz, processors=processors) if svm else bochs(build.vmlinuz, build.bochs)
    )
    scratch = folder / f"on-{variant}"
    scratch.mkdir()
    booted = boot(machine, scratch, gzip.compress(archive(files), 1), Event())
    said = (scratch / "serial").read_text(errors="replace").replace("\r", "")
    if not booted.done:
        raise BootError(f"{booted.why}\n{said}")
    ended, lines = [], list[str]()
    for line in said.splitlines():
        if line.startswith("status "):
            ended.append(Ended(int(line.split()[1]), lines))
            lines = []
        else:
            lines.append(line)
    assert len(ended) == len(programs), said
    return ended
