"""Which basic blocks of KVM's event path schedules reach, on instrumented builds."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz.live.run import Telling
from fuzz.live.unreached import Context, Reason, Why
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import schedule_json
from variants.live.inside import Block, read_blocks
from variants.live.layout import Place
from variants.live.protocol import COVERAGE
from variants.live.runner import Build, run_variants

EVENT_PATH: Final = (
    *("vcpu_run", "kvm_vcpu_running", "vcpu_block", "kvm_vcpu_block", "kvm_vcpu_check_block"),
    *("kvm_vcpu_halt", "kvm_arch_vcpu_runnable", "kvm_vcpu_has_events"),
    *("kvm_apic_accept_events", "kvm_check_nested_events", "svm_check_nested_events"),
    *("vmx_check_nested_events", "svm_apic_init_signal_blocked", "vmx_apic_init_signal_blocked"),
    *("vcpu_enter_guest", "inject_pending_event", "kvm_check_and_inject_events"),
    *("process_nmi", "process_smi", "process_smi_request", "enter_smm", "emulator_leave_smm"),
    *("svm_enter_smm", "svm_leave_smm", "vmx_enter_smm", "vmx_leave_smm", "svm_set_gif"),
    *("svm_pre_enter_smm", "svm_pre_leave_smm", "vmx_pre_enter_smm", "vmx_pre_leave_smm"),
    *("__apic_accept_irq", "kvm_lapic_reset", "kvm_vcpu_reset", "svm_vcpu_reset", "vmx_vcpu_reset"),
    *("kvm_arch_vcpu_ioctl_get_mpstate", "kvm_arch_vcpu_ioctl_set_mpstate"),
    *("kvm_vcpu_ioctl_x86_get_vcpu_events", "nested_svm_vmexit", "nested_vmx_vmexit"),
    "__nested_vmx_vmexit",
)
"""KVM's functions that decide what becomes of an event, of all kernels since 5.10."""
TRACEPOINTS: Final = ("trace.h", "include/trace/")
"""Their code runs where someone traces."""


class Function(NamedTuple):
    """A function's blocks: by where they are, how many schedules reach each."""

    name: str
    blocks: tuple[tuple[Block, int], ...]

    @property
    def reached(self) -> int:
        return sum(schedules > 0 for _, schedules in self.blocks)


def reached_by(
    schedules: Sequence[Schedule],
    builds: Mapping[str, Build],
    telling: Telling,
    parallel: int,
) -> tuple[dict[str, Counter[Place]], bool]:
    """By variant, how many of `schedules`, all of one vendor, reach each block; and whether all
    ran to their ends.

    Raises LiveError when nothing can be run.
    """
    plain = [schedule_json(schedule) for schedule in schedules]
    vendor = schedules[0].vendor
    with telling.ticking(f"{vendor}: {len(plain)} schedules on {' '.join(builds)}") as tick:
        _, reports = run_variants(
            plain, builds, vendor, parallel, tick, fresh=False, inside=COVERAGE
        )
    for name, report in reports.items():
        for trouble in report.troubles:
            telling.trouble(f"live {name}: {trouble}")
    whole = all(one.word == "ok" for report in reports.values() for one in report.ended.values())
    return {
        name: Counter(place for ended in report.ended.values() for place in ended.reached)
        for name, report in reports.items()
    }, whole


def event_path(
    build: Build, reached: Mapping[Place, int], modules: Iterable[str]
) -> list[Function]:
    """The functions of `EVENT_PATH` that a build has, in that order, with what reaches them."""
    blocks: dict[str, list[tuple[Block, int]]] = {name: [] for name in EVENT_PATH}
    for block in read_blocks(build.modules):
        function = function_of(block)
        if function and block.place.module in modules:
            blocks[function].append((block, reached.get(block.place, 0)))
    return [Function(name, tuple(found)) for name, found in blocks.items() if found]


def function_of(block: Block) -> str:
    """The function of the event path that a block is in, inlined helpers included; "" if none.

    One of that name in a header calls it.
    """
    if any(part in one.file for one in block.frames for part in TRACEPOINTS):
        return ""
    inner = (one for one in block.frames if not one.file.endswith(".h"))
    return next((one.function for one in inner if one.function in EVENT_PATH), "")


def lines_missed(function: Function, why: Why) -> Iterator[str]:
    """The lines of a function with blocks that no schedule reaches, by why that is; `*` where
    others are reached.

    A block of a helper that is inlined is of the line that calls it.
    """
    some: set[int] = set()
    missed: dict[str, set[int]] = {}
    for block, times in function.blocks:
        line = next(one for one in block.frames if one.function == function.name).line
        if times:
            some.add(line)
        else:
            missed.setdefault(why(block), set()).add(line)
    for reason, lines in sorted(missed.items(), key=lambda one: min(one[1])):
        numbers = ", ".join(f"{line}{'*' if line in some else ''}" for line in sorted(lines))
        yield f"{reason or '**no reason yet**'}: {numbers}"


def table(functions: Sequence[Function], why: Why) -> Iterator[str]:
    """A row of Markdown for each function: blocks, schedules, the lines that none reaches.

    why: of a block that is not reached, "" if that is not known.
    """
    yield "| function | blocks reached | schedules | lines not reached |"
    yield "| --- | --- | --- | --- |"
    for one in functions:
        frame = next(part for part in one.blocks[0][0].frames if part.function == one.name)
        most = max(times for _, times in one.blocks)
        missed = "<br>".join(lines_missed(one, why)) if most else "all"
        row = f"{one.reached} of {len(one.blocks)} | {most} | {missed or '-'}"
        yield f"| `{one.name}` ({Path(frame.file).name}) | {row} |"


def totals(
    functions: Sequence[Function],
    reasons: Sequence[Reason],
    context: Callable[[Block], Context],
    why: Why,
) -> Iterator[str]:
    """What a table comes to, and which reasons are not so."""
    blocks = [one for function in functions for one in function.blocks]
    missed = [block for block, times in blocks if not times]
    unknown = sum(not why(block) for block in missed)
    reached = f"{len(blocks) - len(missed)} of {len(blocks)} blocks reached"
    yield f"{reached}; of the others {unknown} have no reason yet"
    yield from untrue(functions, reasons, context)


def untrue(
    functions: Sequence[Function],
    reasons: Sequence[Reason],
    context: Callable[[Block], Context],
) -> Iterator[str]:
    """A line for each reason that says of a block that is reached that it cannot be."""
    for reason in reasons:
        reached = [
            block
            for one in functions
            for block, times in one.blocks
            if times and reason.forbids(context(block))
        ]
        if reached:
            frame = reached[0].frames[0]
            yield f"not so: {reason.why}: {frame.function} is reached at {frame.file}:{frame.line}"


def coverage_json(functions: Sequence[Function], why: Why) -> list[dict[str, Any]]:
    """For machines: every block of every function."""
    return [
        {
            "function": one.name,
            "blocks": [
                {
                    "place": str(block.place),
                    "frames": [frame._asdict() for frame in block.frames],
                    "schedules": times,
                    "why": "" if times else why(block),
                }
                for block, times in one.blocks
            ],
        }
        for one in functions
    ]
