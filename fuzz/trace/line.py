"""A line of a KVM trace: ftrace's `trace` file, or what `trace-cmd report` makes of a recording.

Linux 5.10 to 7.3 arch/x86/kvm/trace.h says how events are printed; libtraceevent's plugin_kvm.c how
trace-cmd prints some of them instead.
"""

import re
from typing import Final, NamedTuple

LINE: Final = re.compile(
    r"\s*(?P<task>\S.*-\d+)\s+(?:\(\s*[\d-]+\)\s+)?\[\d+\]\s+(?:\S+\s+)?\d+\.\d+:\s+"
    r"(?P<event>kvm_\w+):\s+(?P<text>.*)"
)
"""A task's name may hold blanks: `CPU 0/KVM-4711`."""
LONGEST: Final = 1000
"""Characters of a line that is looked at."""
NUMBER: Final = r"\d{1,9}"
HEX: Final = r"[0-9a-f]{1,8}"
ENTRY: Final = re.compile(rf"vcpu (?P<vcpu>{NUMBER})")
EXIT: Final = re.compile(rf"(?:vcpu (?P<vcpu>{NUMBER}) )?reason (?P<reason>.+?) rip ")
IPI: Final = re.compile(
    rf"dst (?P<dst>{HEX}) vec (?P<vector>{NUMBER}) \((?P<mode>\w+)\|(?P<addressed>physical|logical)"
    r"\|(?P<level>assert|de-assert)\|(?P<trigger>edge|level)\|(?P<shorthand>[\w-]+)\)"
)
ARRIVAL: Final = re.compile(rf"apicid (?P<vcpu>{HEX}) vec {NUMBER} \((?P<mode>\w+)\|")
INTERCEPTS: Final = re.compile(rf"intercepts: (?P<word>{HEX}) ")
NESTED_EXIT: Final = re.compile(
    rf"reason:? (?P<reason>.+?) (?:ext_inf1:|info1) .*(?:ext_int:|int_info) (?:0x)?(?P<info>{HEX})"
)
SMM: Final = re.compile(rf"vcpu (?P<vcpu>{NUMBER}): (?P<way>entering|leaving) SMM")

PLUGIN_WORDS: Final = {
    "INTR": "interrupt",
    "IOIO": "io",
    "VMMCALL": "hypercall",
    "UNKNOWN (3)": "INIT_SIGNAL",
    "UNKNOWN (4)": "SIPI_SIGNAL",
    "UNKNOWN (4026531840)": "0xf0000000",
}
"""Exit reasons as trace-cmd's plugin has them, and as the kernel does."""


class Entry(NamedTuple):
    """A task enters the guest as a vCPU."""

    task: str
    vcpu: int


class Exit(NamedTuple):
    """A vCPU leaves the guest; None: that of its task, which trace-cmd's plugin does not tell."""

    task: str
    vcpu: int | None
    reason: str


class Ipi(NamedTuple):
    """An ICR write. mode, shorthand: KVM's words."""

    task: str
    destination: int
    vector: int
    mode: str
    logical: bool
    deassert: bool
    shorthand: str


class Arrival(NamedTuple):
    """A message reaches a vCPU's LAPIC, sent by an ICR write of the task's or by a device."""

    task: str
    vcpu: int
    mode: str


class Intercepts(NamedTuple):
    """What L1 intercepts in the VMCB that was just entered: the word with INTR, NMI, SMI, INIT."""

    task: str
    word: int


class NestedExit(NamedTuple):
    """L2 exits to L1. info: of the interruption, as hardware has it."""

    task: str
    reason: str
    info: int


class Smm(NamedTuple):
    """A vCPU enters or leaves SMM."""

    task: str
    vcpu: int
    entering: bool


Event = Entry | Exit | Ipi | Arrival | Intercepts | NestedExit | Smm


def event_in(line: str) -> Event | str | None:
    """What a line tells; the event's name, if it is one of KVM's that is not used or not printed as
    expected; None if it is none of KVM's."""
    found = LINE.fullmatch(line.rstrip()) if len(line) <= LONGEST else None
    if not found:
        return None
    task, name, text = found["task"], found["event"], found["text"]
    match name:
        case "kvm_entry" if said := ENTRY.match(text):
            return Entry(task, int(said["vcpu"]))
        case "kvm_exit" if said := EXIT.match(text):
            return Exit(task, int(said["vcpu"]) if said["vcpu"] else None, reason(said["reason"]))
        case "kvm_apic_ipi" if said := IPI.match(text):
            return ipi(task, said)
        case "kvm_apic_accept_irq" if said := ARRIVAL.match(text):
            return Arrival(task, int(said["vcpu"], 16), said["mode"])
        case "kvm_nested_intercepts" if said := INTERCEPTS.search(text):
            return Intercepts(task, int(said["word"], 16))
        case "kvm_nested_vmexit_inject" if said := NESTED_EXIT.match(text):
            return NestedExit(task, reason(said["reason"]), int(said["info"], 16))
        case "kvm_smm_transition" | "kvm_enter_smm" if said := SMM.match(text):
            return Smm(task, int(said["vcpu"]), said["way"] == "entering")
    return name


def ipi(task: str, said: re.Match[str]) -> Ipi:
    return Ipi(
        task,
        int(said["dst"], 16),
        int(said["vector"]) & 0xFF,
        said["mode"],
        said["addressed"] == "logical",
        (said["level"], said["trigger"]) == ("de-assert", "level"),
        said["shorthand"],
    )


def reason(printed: str) -> str:
    """An exit reason as the kernel prints it: SVM's in small letters, VMX's in capitals. The plugin
    of trace-cmd has SVM's as EXIT_HLT, and of newer ones only the number."""
    if printed.startswith("EXIT_"):
        name = printed.removeprefix("EXIT_")
        return PLUGIN_WORDS.get(name, name.lower())
    return PLUGIN_WORDS.get(printed, printed)
