"""Where in KVM's source the machine's preemption points are, for instrumented builds of Linux 5.10.

A point is found by a function and by what stands on one of its lines, so that changes elsewhere do
not matter. A message that lands at a block comes before all that the block does.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from variants.live.inside import SOURCES, Block
from variants.live.layout import Place
from variants.live.symbols import Frame
from variants.machine.points import Point


class Spot(NamedTuple):
    """Blocks of a function, with what is inlined there, by the line of it that they are of.

    line: an expression to be found in it. helper: only blocks of this one, inlined there.
    skipped: so many of the blocks, by address, come before the point.
    """

    function: str
    line: str
    helper: str = ""
    skipped: int = 0


ACCEPT: Final = "kvm_apic_accept_events"
ENTER: Final = "vcpu_enter_guest"
INJECT: Final = "inject_pending_event"
NESTED: Final = "vmx_check_nested_events"
LATCHED: Final = Spot(ACCEPT, r"kvm_vcpu_latch_init\(")
SPOTS: Final[Mapping[Point, tuple[Spot, ...]]] = {
    "run-loop": (
        Spot("vcpu_run", r"kvm_vcpu_running\("),
        Spot("kvm_arch_vcpu_ioctl_run", r"kvm_vcpu_block\("),
    ),
    "running-checked": (
        Spot(ENTER, r"dm_request_for_irq_injection\("),
        Spot("vcpu_block", r"kvm_arch_vcpu_runnable\("),
    ),
    "block-checked": (Spot("vcpu_block", ACCEPT),),
    "block-nested-checked": (Spot("kvm_vcpu_has_events", r"async_pf\.done"),),
    "block-waiting": (Spot("kvm_vcpu_block", r"schedule\(\)"),),
    # Where there is no request at all, that for events alone is looked at.
    "requests-smi": (Spot(ENTER, r"check_request\(KVM_REQ_(NMI|EVENT),"),),
    "requests-nmi": (Spot(ENTER, r"check_request\(KVM_REQ_EVENT,"),),
    "process-nmi": (Spot("process_nmi", "nmi_queued"),),
    "event-cleared": (Spot(ENTER, r"check_request\(KVM_REQ_EVENT,", helper="kvm_clear_request"),),
    # paolo reads what is pending before it calls the nested check.
    "accept-pending": (Spot(ACCEPT, r"check_events\("), LATCHED),
    "accept-nested-checked": (LATCHED,),
    "accept-latched": (Spot(ACCEPT, r"WARN_ON_ONCE\("),),
    "accept-taken": (Spot(ACCEPT, r"xchg\(|test_bit\(KVM_APIC_INIT,"),),
    "accept-init": (Spot("kvm_vcpu_reset", r"kvm_lapic_reset\("),),
    # After a reset the block that sets mp_state looks at SIPI too.
    "accept-reset": (
        Spot(ACCEPT, r"test_bit\(KVM_APIC_SIPI, &pe\) &&", helper="test_bit"),
        Spot(ACCEPT, "mp_state = "),
    ),
    "accept-vector": (Spot(ACCEPT, r"smp_rmb\(|= apic->sipi_vector"),),
    "accepted": (Spot(ENTER, INJECT),),
    "nested-init": (
        Spot(NESTED, r"clear_bit\(KVM_APIC_INIT,"),
        Spot("svm_check_nested_events", r"nested_exit_on_init\("),
    ),
    "nested-init-clear": (Spot(NESTED, r"test_bit\(KVM_APIC_SIPI,|exception\.pending && "),),
    "nested-sipi": (Spot(NESTED, r"clear_bit\(KVM_APIC_SIPI,"),),
    "nested-vector": (Spot(NESTED, "sipi_vector"),),
    "inject-nested-checked": (Spot(INJECT, r"\(vcpu->arch\.(exception\.|smi_)pending\) {"),),
    "inject-smi": (Spot(INJECT, r"\(vcpu->arch\.nmi_pending\) {"),),
    "injected": (Spot(ENTER, r"kvm_mmu_reload\("),),
    "entry": (Spot(ENTER, r"\(req_immediate_exit\) {"),),
    "exit": (Spot(ENTER, r"KVM_DEBUGREG_WONT_EXIT\)|if \(hw_breakpoint_active\("),),
    "handled": (Spot(ENTER, r"ops\.handle_exit\(", skipped=1),),
}
FURTHER: Final[Mapping[Point, int]] = {"event-cleared": 1}
"""How many blocks after that at the spot: the one that clears the request calls accept_events."""
LEFT_OUT: Final[Mapping[Point, str]] = {"guest-executed": "the guest runs, none of KVM's code"}
"""Points that no block stands for."""
OF_PATCHES: Final[frozenset[Point]] = frozenset({"nested-sipi", "nested-vector"})
"""Points that the original does not pass."""


def places_of(
    point: Point, blocks: Iterable[Block], line_of: Callable[[Frame], str]
) -> list[Place]:
    """The blocks of a build that a message at `point` lands at, whichever is reached first.

    line_of: the source line of a frame.
    """
    found = []
    for spot in SPOTS[point]:
        places = [block.place for block in blocks if is_at(spot, block, line_of)]
        found += sorted(places)[spot.skipped :]
    return found


def is_at(spot: Spot, block: Block, line_of: Callable[[Frame], str]) -> bool:
    names = [frame.function for frame in block.frames]
    if spot.function not in names or (spot.helper and spot.helper not in names):
        return False
    frame = block.frames[names.index(spot.function)]
    return re.search(spot.line, line_of(frame)) is not None


def lines_of(modules: Path) -> Callable[[Frame], str]:
    """The source lines of an instrumented build, by frame; "" in files that are not kept."""
    files: dict[str, list[str]] = {}

    def line_of(frame: Frame) -> str:
        if frame.file not in files:
            file = modules / SOURCES / frame.file
            files[frame.file] = file.read_text().split("\n") if file.is_file() else []
        lines = files[frame.file]
        return lines[frame.line - 1] if 0 < frame.line <= len(lines) else ""

    return line_of
