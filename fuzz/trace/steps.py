"""The steps in a KVM trace: ICR writes, and what guests execute that exits to KVM.

Numbers of vCPUs are KVM's, and may be too great for a schedule. A vCPU that runs after something
has arrived for it, and executes nothing of note, does a NOP.
"""

from collections import Counter
from typing import Final, NamedTuple

from fuzz.schedule.schedule import MIN_FIXED_VECTOR
from fuzz.trace.line import Arrival, Entry, Event, Exit, Intercepts, Ipi, NestedExit, Smm
from variants.machine.step import EXITING, INTERCEPTS, TO_ALL, TO_OTHERS, TO_SELF, Step, Vendor

INSTRUCTIONS: Final[dict[Vendor, dict[str, str]]] = {
    "svm": {"hlt": "hlt", "vmrun": "vmrun", "stgi": "stgi", "clgi": "clgi", "rsm": "rsm"},
    "vmx": {
        "HLT": "hlt",
        "VMLAUNCH": "vmlaunch",
        "VMRESUME": "vmlaunch",
        "VMON": "vmxon",
        "VMOFF": "vmxoff",
    },
}
"""Exit reasons of instructions, and the step that each is. A VMX guest's RSM has none."""
EXIT_TO_L1: Final[dict[Vendor, str]] = {"svm": "vmmcall", "vmx": "vmcall"}
EVENTS: Final = (
    *("init", "nmi", "interrupt", "vintr", "smi", "invalid_guest_state"),
    *("INIT_SIGNAL", "SIPI_SIGNAL", "EXTERNAL_INTERRUPT", "NMI"),
    "0xf0000000",  # KVM's own, on the way to SMM: svm/svm.c: svm_enter_smm.
)
"""Exits to L1 that no instruction of L2's brings about."""
INTERCEPT_BITS: Final = {"intr": 1, "nmi": 2, "smi": 4, "init": 8}
ASKED_FOR: Final = {"EXTERNAL_INTERRUPT": "intr", "NMI": "nmi"}
"""What L1 has asked for that gets such an exit."""
NMI: Final = 2
"""The type of an NMI, bits 10 to 8 of an interruption's information (SDM vol. 3, 25.9.2)."""
MODES: Final = {"Fixed": "fixed", "SMI": "smi", "NMI": "nmi", "INIT": "init", "SIPI": "sipi"}
SHORTHANDS: Final = {"self": TO_SELF, "all": TO_ALL, "all-but-self": TO_OTHERS}
BROADCAST: Final = (0xFF, 0xFFFFFFFF)


def vendor_of(reason: str) -> Vendor | None:
    """Whose exit reason that is; None if it does not tell, as a mere number."""
    if reason[:1].islower():
        return "svm"
    return "vmx" if reason.isupper() and not reason.startswith("UNKNOWN") else None


class Write(NamedTuple):
    """An ICR write under way. named: it says itself whom it is for. taken: somebody has got it."""

    step: Step
    named: bool
    taken: bool = False


class Reading:
    """What has been read of a trace. left: what was left out, and how often. vendor: None until an
    exit reason tells."""

    def __init__(self) -> None:
        self.vendor: Vendor | None = None
        self.steps: list[Step] = []
        self.left: Counter[str] = Counter()
        self._running: dict[str, int] = {}  # The vCPU of each task.
        self._writes: dict[str, Write] = {}
        self._exits: dict[int, tuple[str, int | None]] = {}  # Why, and which step that is.
        self._entries: dict[int, int] = {}  # The steps by which vCPUs have entered L2.
        self._arrived: set[int] = set()
        self._smis: set[int] = set()

    def take(self, event: Event) -> None:
        """Go on with the next event."""
        match event:
            case Entry(task, vcpu):
                self._end_write(task)
                self._running[task] = vcpu
            case Exit(task):
                self._end_write(task)
                self._take_exit(event)
            case Ipi(task):
                self._end_write(task)
                self._take_ipi(event)
            case Arrival():
                self._take_arrival(event)
            case Intercepts(task, word):
                asked = tuple(name for name in INTERCEPTS if word & INTERCEPT_BITS[name])
                self._amend_entry(self._running.get(task), asked)
            case NestedExit():
                self._take_nested_exit(event)
            case Smm():
                self._take_smm(event)

    def _take_exit(self, event: Exit) -> None:
        self.vendor = self.vendor or vendor_of(event.reason)
        vcpu = self._running.get(event.task) if event.vcpu is None else event.vcpu
        if vcpu is None:
            self.left["exits of unknown vCPUs"] += 1
            return
        self._running[event.task] = vcpu
        taking = "nop" if vcpu in self._arrived else ""
        op = INSTRUCTIONS[self.vendor].get(event.reason, taking) if self.vendor else taking
        self._arrived.discard(vcpu)
        self._exits[vcpu] = (event.reason, len(self.steps) if op else None)
        if not op:
            self.left[f"{event.reason} exits"] += 1
            return
        if op in ("vmrun", "vmlaunch"):
            self._entries[vcpu] = len(self.steps)
        self.steps.append(Step(op, vcpu, mode="active" if op == "vmlaunch" else ""))

    def _take_nested_exit(self, event: NestedExit) -> None:
        """What no event has brought about is an instruction of L2's, whichever."""
        vcpu = self._running.get(event.task)
        if vcpu is None or self.vendor is None or vcpu not in self._exits:
            self.left["exits to L1 of unknown vCPUs"] += 1
            return
        by_nmi = event.reason == "EXCEPTION_NMI" and event.info >> 8 & 7 == NMI
        reason = "NMI" if by_nmi else event.reason
        if reason in ASKED_FOR:
            self._amend_entry(vcpu, (ASKED_FOR[reason],))
        if reason == "SIPI_SIGNAL":
            self._amend_entry(self._in_wait_for_sipi(vcpu), mode="wait-for-sipi")
        if reason in EVENTS or reason.endswith("FAILED_VMENTRY"):
            return
        step = Step(EXIT_TO_L1[self.vendor], vcpu)
        why, number = self._exits[vcpu]
        if number is None:
            self.left[f"{why} exits"] -= 1
            self.steps.append(step)
        else:
            self.steps[number] = step

    def _in_wait_for_sipi(self, vcpu: int) -> int:
        """Whom a SIPI exit is of. A vCPU that waits does not run: where one task runs several, it
        is not the one that ran last, but the one that the SIPI was sent to."""
        waiting = self._arrived & self._entries.keys()
        return vcpu if vcpu in waiting or len(waiting) != 1 else min(waiting)

    def _amend_entry(self, vcpu: int | None, asked: tuple[str, ...] = (), mode: str = "") -> None:
        """Now the trace tells what L1 asked for when `vcpu` entered L2."""
        number = None if vcpu is None else self._entries.get(vcpu)
        if number is None:
            return
        step = self.steps[number]
        words = INTERCEPTS if step.op == "vmrun" else EXITING
        controls = tuple(word for word in words if word in step.controls + asked)
        self.steps[number] = step._replace(controls=controls, mode=mode or step.mode)

    def _take_ipi(self, event: Ipi) -> None:
        sender, mode = self._running.get(event.task), MODES.get(event.mode)
        if sender is None:
            self.left["ICR writes of unknown vCPUs"] += 1
        elif mode is None or (mode == "fixed" and event.vector < MIN_FIXED_VECTOR):
            self.left[f"{event.mode} IPIs with vector {event.vector:#04x}"] += 1
        else:
            named = event.shorthand in SHORTHANDS
            to = SHORTHANDS.get(event.shorthand, event.destination)
            if not named and not event.logical and to not in BROADCAST:
                named = True
                self._arrived.add(to)
            if mode == "init" and event.deassert:
                mode = "init-deassert"
            step = Step("icr", sender, to, mode, event.vector)
            self._writes[event.task] = Write(step, named)
            if named:
                self.steps.append(step)

    def _take_arrival(self, event: Arrival) -> None:
        write = self._writes.get(event.task)
        if write is None:
            self.left[f"{event.mode} messages that no ICR write sent"] += 1
            return
        self._arrived.add(event.vcpu)
        if event.mode == "SMI":
            self._smis.add(event.vcpu)
        if not write.named:
            self.steps.append(write.step._replace(to=event.vcpu))
        self._writes[event.task] = write._replace(taken=True)

    def _end_write(self, task: str) -> None:
        write = self._writes.pop(task, None)
        if write and not write.named and not write.taken:
            self.left["ICR writes, nothing says to whom"] += 1

    def _take_smm(self, event: Smm) -> None:
        """An SMI that no ICR write sent is the host's."""
        if event.entering and event.vcpu not in self._smis:
            self.steps.append(Step("smi", event.vcpu))
            self._arrived.add(event.vcpu)
        elif not event.entering and self.vendor == "vmx":
            self.steps.append(Step("rsm", event.vcpu))
        self._smis.discard(event.vcpu)
