"""What live runs need of this machine, and the Debian packages that have it."""

import platform
import shutil
from pathlib import Path
from typing import Final

from variants.live.emulator import Unavailable
from variants.live.machines import BIOS, ISOLINUX, LDLINUX, VGA_BIOS

TOOLS: Final = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "tar": "tar",
    "xz": "xz-utils",
    "gcc": "gcc",
    "ld": "binutils",
    "make": "make",
    "git": "git",
    "spatch": "coccinelle",
    "qemu-system-x86_64": "qemu-system-x86",
    "bochs": "bochs",
    "genisoimage": "genisoimage",
}
FILES: Final = {
    str(ISOLINUX): "isolinux",
    str(LDLINUX): "syslinux-common",
    f"/{BIOS}": "bochsbios",
    f"/{VGA_BIOS}": "vgabios",
    "/usr/include/linux/kvm.h": "linux-libc-dev",
    "/usr/include/libelf.h": "libelf-dev",
    "/usr/include/stdio.h": "libc6-dev",
}


def missing() -> dict[str, str]:
    """What is not on this machine, and the Debian package that has it."""
    return {tool: package for tool, package in TOOLS.items() if not shutil.which(tool)} | {
        file: package for file, package in FILES.items() if not Path(file).exists()
    }


def check_machine() -> None:
    if platform.machine() != "x86_64":
        raise Unavailable(f"live runs need an x86_64 machine to build on, not {platform.machine()}")
    lacking = missing()
    if lacking:
        packages = " ".join(sorted(set(lacking.values())))
        raise Unavailable(f"{', '.join(lacking)} missing: apt-get install {packages}")
