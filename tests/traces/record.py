"""Record KVM's trace of schedules run live: `python -m tests.traces.record KERNEL OUT FILE..`.

A file a schedule, as ftrace prints it, in a VM of its own; KERNEL is a live variant that is set up.
"""

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Event

from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import schedule_json
from variants.live.agent_build import AGENT
from variants.live.cache import builds
from variants.live.emulator import boot
from variants.live.initramfs import archive
from variants.live.machines import bochs, qemu
from variants.live.protocol import encode
from variants.live.runner import VENDOR_MODULE, Build

SOURCE = Path(__file__).with_name("record.c")


def init() -> bytes:
    """The program that boots, from its source."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "record"
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-static", f"-I{AGENT}", "-o", str(program)]
        shared = [str(AGENT / name) for name in ("system.c", "die.c")]
        subprocess.run([*command, str(SOURCE), *shared], check=True)
        return program.read_bytes()


def record(build: Build, schedule: Schedule) -> str:
    """The trace of `schedule`. Raises LiveError."""
    vendor = schedule.vendor
    module = VENDOR_MODULE[vendor]
    files = {
        "init": (init(), 0o100755),
        "agent": (build.agent.read_bytes(), 0o100755),
        "dev": (b"", 0o040755),
        "batch": (encode(0, schedule_json(schedule), fresh=True).encode(), 0o100644),
        "irqbypass.ko": (build.irqbypass.read_bytes(), 0o100644),
        "kvm.ko": ((build.modules / "kvm.ko").read_bytes(), 0o100644),
        module: ((build.modules / module).read_bytes(), 0o100644),
    }
    svm = vendor == "svm"
    machine = qemu(build.vmlinuz) if svm else bochs(build.vmlinuz, build.bochs)
    with tempfile.TemporaryDirectory(prefix="eventdiff-") as name:
        folder = Path(name)
        booted = boot(machine, folder, gzip.compress(archive(files), 1), Event())
        if not booted.done:
            raise RuntimeError(booted.why)
        said = (folder / machine.output).read_text(errors="replace")
    return said.replace("\r", "").partition("\nD\n")[0] + "\n"


def main() -> None:
    kernel, out, *paths = sys.argv[1:]
    build = builds(None, [kernel])[kernel]
    for path in paths:
        file = Path(out) / f"{Path(path).stem}-{kernel.removeprefix('linux-')}.txt"
        file.write_text(record(build, read_schedule(path)))
        print(file)


if __name__ == "__main__":
    main()
