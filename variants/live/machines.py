"""The emulators: QEMU's TCG for SVM, Bochs for VMX."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from variants.live.emulator import LiveError, Machine
from variants.live.foreign import command

KERNEL_ARGUMENTS: Final = (
    "console=ttyS0,115200 quiet loglevel=3 panic=-1 oops=panic nokaslr mitigations=off "
    "rcupdate.rcu_expedited=1 random.trust_cpu=on nowatchdog tsc=reliable audit=0 "
    "transparent_hugepage=always cryptomgr.notests"
)
QEMU: Final = "qemu-system-x86_64"
ISOLINUX: Final = Path("/usr/lib/ISOLINUX/isolinux.bin")
LDLINUX: Final = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
BOCHS: Final = "usr/bin/bochs-bin"
PLUGINS: Final = "usr/lib/x86_64-linux-gnu/bochs/plugins"
BIOS: Final = "usr/share/bochs/BIOS-bochs-latest"
VGA_BIOS: Final = "usr/share/bochs/VGABIOS-lgpl-latest"  # a link
BOCHS_FILES: Final = (BOCHS, BIOS, VGA_BIOS, "usr/share/vgabios")
"""What a private Bochs needs but for libraries, as paths in its folder."""


def qemu(vmlinuz: Path, line: str = "", processors: int = 1) -> Machine:
    """SVM: QEMU's own translator, no KVM needed.

    line: a terminal, to be the second serial port (variants/live/guests.py). processors: with one
    guest time is counted in instructions; more than one run at the same time.
    """

    def prepare(folder: Path, image: bytes) -> tuple[Sequence[str], Mapping[str, str], bytes]:
        (folder / "initrd").write_bytes(image)
        command = [
            *(
                QEMU,
                "-machine",
                "pc",
                "-accel",
                "tcg",
                "-cpu",
                "max,+svm,-erms,-fsrm",
            ),
            *(
                "-m",
                "256",
                "-smp",
                str(processors),
                "-display",
                "none",
                "-nodefaults",
                "-no-reboot",
            ),
            *(("-icount", "shift=1,sleep=off") if processors == 1 else ()),
            *("-kernel", str(vmlinuz), "-initrd", "initrd", "-append", KERNEL_ARGUMENTS),
            *("-serial", "file:serial"),
            *(("-serial", line) if line else ()),
        ]
        return command, {}, b""

    return Machine("QEMU", prepare, boot_seconds=240, silence_seconds=60, few_bytes=200_000)


@cache
def qemu_version() -> str:
    """The version of the system's QEMU; "" if there is none."""
    try:
        said = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    found = re.search(r"version (\S+)", said.stdout)
    return found[1] if found else ""


def bochs_command(root: Path | None) -> tuple[list[str], dict[str, str]]:
    """How a command line for Bochs begins, and its environment.

    root: the folder that has its files and all that it needs; None for the system's Bochs.
    """
    if not root:
        return ["bochs"], {}
    return [str(part) for part in command(root, BOCHS)], {"LTDL_LIBRARY_PATH": str(root / PLUGINS)}


def bochs(vmlinuz: Path, root: Path | None, line: str = "") -> Machine:
    """VMX: Bochs as a Haswell, booted from an ISO image; the debugger of 2.7 waits for `c`.

    root: as in `bochs_command`; line: as in `qemu`.
    """

    def prepare(folder: Path, image: bytes) -> tuple[Sequence[str], Mapping[str, str], bytes]:
        iso = folder / "iso"
        iso.mkdir()
        (iso / "initrd").write_bytes(image)
        for source in (ISOLINUX, LDLINUX):
            if not source.exists():
                raise LiveError(f"{source} is missing (package isolinux or syslinux-common)")
            shutil.copy(source, iso)
        shutil.copy(vmlinuz, iso / "vmlinuz")
        (iso / "isolinux.cfg").write_text(
            "default l\nprompt 0\ntimeout 1\nlabel l\n kernel vmlinuz\n"
            f" append initrd=initrd {KERNEL_ARGUMENTS} clocksource=tsc\n"
        )
        make_iso(folder)
        (folder / "bochsrc").write_text(bochsrc(root or Path("/"), line))
        program, environment = bochs_command(root)
        return [*program, "-q", "-f", "bochsrc"], environment | {"TERM": "dumb"}, b"c\n"

    return Machine("Bochs", prepare, boot_seconds=240, silence_seconds=120, few_bytes=100_000)


def make_iso(folder: Path) -> None:
    command = [
        *("genisoimage", "-quiet", "-o", "boot.iso", "-b", "isolinux.bin", "-c", "boot.cat"),
        *("-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "iso"),
    ]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LiveError("genisoimage is not installed") from error
    if done.returncode:
        raise LiveError(f"genisoimage: {done.stderr.strip()}")


def bochsrc(root: Path, line: str) -> str:
    """The configuration; ips sets how much guest time an instruction takes.

    The images are named because Debian's 3.0 looks for the VGA's under a name that it has not.
    """
    return "\n".join(
        (
            f"romimage: file={root / BIOS}",
            f"vgaromimage: file={root / VGA_BIOS}",
            'display_library: rfb, options="timeout=0"',  # of ports it takes one that is free
            "megs: 256",
            "cpu: model=corei7_haswell_4770, count=1, ips=400000000, reset_on_triple_fault=0",
            "clock: sync=none, time0=1700000000",
            'ata0-master: type=cdrom, path="boot.iso", status=inserted',
            "boot: cdrom",
            "com1: enabled=1, mode=file, dev=serial",
            *((f"com2: enabled=1, mode=term, dev={line}",) if line else ()),
            "sound: driver=dummy",
            "speaker: enabled=0",
            "log: bochs.log",
            "panic: action=fatal",
            "error: action=ignore",
            "info: action=ignore",
            "",
        )
    )
