"""The host's own KVM, where it can nest: the agent as a plain program, no emulator."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from variants.live.emulator import PRINTED, LiveError, Machine
from variants.machine.step import Vendor

SYS_MODULE: Final = Path("/sys/module")
DEVICE: Final = Path("/dev/kvm")
MODULES: Final[Mapping[Vendor, str]] = {"svm": "kvm_amd", "vmx": "kvm_intel"}


@dataclass(frozen=True)
class HostAgent:
    """The agent, to run on the host."""

    agent: Path


def host_vendor() -> Vendor:
    """The vendor whose nested virtualization this host offers. Raises LiveError if none."""
    off = []
    for vendor, module in MODULES.items():
        parameter = SYS_MODULE / module / "parameters" / "nested"
        if not parameter.exists():
            continue
        if parameter.read_text().strip() in ("Y", "1"):
            check_device()
            return vendor
        off.append(module)
    why = f"{off[0]} is loaded with nested=0" if off else "no kvm_amd or kvm_intel is loaded"
    raise LiveError(f"this host's KVM cannot nest: {why}; without --host an emulator is used")


def check_device() -> None:
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
    except OSError as error:
        raise LiveError(f"{DEVICE}: {error.strerror}") from None


def host(agent: Path) -> Machine:
    """The agent's output is what it prints."""

    def prepare(folder: Path, batch: bytes) -> tuple[Sequence[str], Mapping[str, str], bytes]:
        (folder / "batch").write_bytes(batch)
        return [str(agent), "batch"], {}, b""

    return Machine("the agent", prepare, boot_seconds=60, silence_seconds=60, output=PRINTED)
