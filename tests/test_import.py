"""Recorded traces of KVM as schedules. tests/traces/record.py says how those there were made."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.cli.main import main
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import Schedule, check
from fuzz.schedule.seeds import SEEDS
from fuzz.trace.read import TraceError, read_trace
from fuzz.trace.windows import LONGEST, schedules_in
from tests.strategies import schedules
from variants.machine.step import Step

TRACES = sorted((Path(__file__).parent / "traces").glob("*.txt"))
LINES = [line for path in TRACES for line in path.read_text().splitlines()]
KERNEL = r"-\d+\.\d+.*"
WANTED = ("init", "sipi")


def signals(schedule: Schedule) -> list[Step]:
    return [step for step in schedule.steps if step.mode in WANTED]


def exiting(schedule: Schedule) -> list[Step]:
    """The instructions of a schedule that exit to KVM, and what vCPUs are sent."""
    unseen = ("nop", "rdmsr", "get-mp-state", "set-mp-state", "get-vcpu-events", "save-restore")
    return [step for step in schedule.steps if step.op not in unseen]


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_what_was_recorded_comes_back(path: Path) -> None:
    """Its INITs and SIPIs, and what else exits."""
    seed = read_schedule(str(SEEDS / f"{re.sub(KERNEL, '', path.stem)}.yaml"))
    with path.open() as lines:
        (found,) = read_trace(lines, "trace", None).schedules
    assert found.vendor == seed.vendor
    assert signals(found) == signals(seed)
    assert exiting(found) == exiting(seed)


def trace(*told: str, task: str = "CPU 1/KVM-4711") -> list[str]:
    """Lines as ftrace has them."""
    return [f" {task}  [001] d..1.  12.{number:06}: {one}" for number, one in enumerate(told)]


def steps(*lines: str) -> Sequence[Step]:
    (found,) = read_trace(lines, "trace", None).schedules
    return found.steps


BSP, AP = "CPU 0/KVM-4710", "CPU 1/KVM-4711"
SIPI = "kvm_apic_ipi: dst 1 vec 18 (SIPI|physical|assert|edge|dst)"
TAKEN = "kvm_apic_accept_irq: apicid 1 vec 18 (SIPI|edge)"


def exits(vcpu: int, reason: str) -> str:
    return f"kvm_exit: vcpu {vcpu} reason {reason} rip 0x1 info1 0x0 info2 0x0 intr_info 0x0"


def l2_exits(reason: str, info: str = "0") -> str:
    return (
        f"kvm_nested_vmexit_inject: reason: {reason} ext_inf1: 0x0 ext_inf2: 0x0 ext_int: 0x{info}"
    )


def sends(told: str, *arrivals: str) -> list[str]:
    return trace(exits(0, "msr"), told, *arrivals, task=BSP)


def test_trace_cmd_prints_otherwise() -> None:
    """No flags before the time, and its plugin's words for exits."""
    lines = [
        "CPU 1/KVM-4711 [001]   12.000001: kvm_entry:            vcpu 1, rip 0xfff0",
        "CPU 1/KVM-4711 [001]   12.000002: kvm_exit:             reason EXIT_HLT rip 0x1 info 0 0",
        "CPU 0/KVM-4710 [000]   12.000003: kvm_entry:            vcpu 0, rip 0xfff0",
        f"CPU 0/KVM-4710 [000]   12.000004: {SIPI}",
    ]
    assert steps(*lines) == (Step("hlt", 1), Step("icr", 0, 1, "sipi", 18))


def test_vcpus_are_numbered_anew() -> None:
    sipi = SIPI.replace("dst 1", "dst 1f")
    assert steps(*sends(sipi), *trace(exits(31, "io"))) == (
        Step("icr", 0, 1, "sipi", 18),
        Step("nop", 1),
    )


def test_who_takes_it_tells_a_logical_destination() -> None:
    logical = "kvm_apic_ipi: dst 6 vec 0 (INIT|logical|assert|level|dst)"
    arrivals = [f"kvm_apic_accept_irq: apicid {number} vec 0 (INIT|level)" for number in (1, 2)]
    assert steps(*sends(logical, *arrivals)) == (
        Step("icr", 0, 1, "init"),
        Step("icr", 0, 2, "init"),
    )


def test_what_l1_intercepts_takes_l2_to_l1() -> None:
    """Whatever instruction it was, and not where an event did."""
    hlt = trace(exits(1, "hlt"), l2_exits("hlt"))
    events = trace(exits(1, "interrupt"), l2_exits("interrupt"), l2_exits("0xf0000000"))
    assert steps(*hlt, *events, *sends(SIPI)) == (
        Step("vmmcall", 1),
        Step("icr", 0, 1, "sipi", 18),
    )


def test_exits_tell_what_l1_asked_for() -> None:
    entered = trace(exits(1, "VMLAUNCH"))
    for reason, info, wanted in (
        ("EXTERNAL_INTERRUPT", "80000031", Step("vmlaunch", 1, mode="active", controls=("intr",))),
        ("EXCEPTION_NMI", "80000202", Step("vmlaunch", 1, mode="active", controls=("nmi",))),
        ("SIPI_SIGNAL", "0", Step("vmlaunch", 1, mode="wait-for-sipi")),
    ):
        first, *_ = steps(*entered, *trace(l2_exits(reason, info)), *sends(SIPI))
        assert first == wanted


def test_smis() -> None:
    """The host's, and those that an ICR write sends."""
    enters = trace("kvm_smm_transition: vcpu 1: entering SMM, smbase 0x30000", exits(1, "rsm"))
    sent = "kvm_apic_ipi: dst 1 vec 0 (SMI|physical|assert|edge|dst)"
    arrived = "kvm_apic_accept_irq: apicid 1 vec 0 (SMI|edge)"
    taken = (Step("rsm", 1), Step("icr", 0, 1, "sipi", 18))
    assert steps(*enters, *sends(SIPI)) == (Step("smi", 1), *taken)
    assert steps(*sends(sent, arrived), *enters, *sends(SIPI)) == (
        Step("icr", 0, 1, "smi"),
        *taken,
    )


def test_a_schedule_begins_where_vcpus_were() -> None:
    """However long ago they came there."""
    long_ago = [Step("vmxon", 5), Step("vmlaunch", 5, mode="active")]
    between = [Step("hlt", 5)] * 40 + [Step("hlt", 2)] * 2000
    sipi = Step("icr", 0, 5, "sipi", 0x12)
    (found,), left = schedules_in([*long_ago, *between, sipi], "vmx", "trace")
    assert found.steps == (
        Step("vmxon", 1),
        Step("vmlaunch", 1, mode="active"),
        sipi._replace(to=1),
    )
    assert left == len(long_ago) + len(between)


@given(schedules(races=False, max_size=60), st.permutations(range(9)))
def test_schedules_of_any_trace_are_valid(schedule: Schedule, numbers: Sequence[int]) -> None:
    """And have every INIT and SIPI, in its order."""
    new = (0, *(number + 1 for number in numbers))
    moved = [
        step._replace(on=new[step.on], to=new[step.to] if step.to > 0 else step.to)
        for step in schedule.steps
    ]
    found, left = schedules_in(moved, schedule.vendor, "trace")
    sent = [step for step in moved if step.mode in WANTED]
    assert bool(found) == bool(sent)
    assert 0 <= left <= len(moved) - bool(sent)
    assert len({one[:3] for one in found}) == len(found)
    for one in found:
        check(one)
        assert len(one.steps) <= LONGEST
        assert signals(one)
    modes = {(step.mode, step.vector) for step in sent}
    assert {(step.mode, step.vector) for one in found for step in signals(one)} == modes


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A line of a trace in which a few characters are other ones."""
    line = draw(st.sampled_from(LINES))
    at = draw(st.integers(0, len(line)))
    return line[:at] + draw(st.text(max_size=4)) + line[at + draw(st.integers(0, 9)) :]


@given(st.lists(st.text() | damaged() | st.sampled_from(LINES), max_size=40))
def test_no_line_is_too_bad(lines: list[str]) -> None:
    try:
        found = read_trace(lines, "trace", None)
    except TraceError:
        return
    for schedule in found.schedules:
        check(schedule)
    assert all(count > 0 for count in found.left.values())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "boot.txt", tmp_path / "out"
    lines = [*sends(SIPI, TAKEN), *trace(exits(1, "io"), exits(1, "npf"), "kvm_eoi: apicid 1")]
    file.write_text("\n".join(["# tracer: nop", *lines, "garbage"]) + "\n")
    assert main(["import-trace", str(file), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out / 'boot-1.yaml'}\n"
    assert [step.op for step in read_schedule(str(out / "boot-1.yaml")).steps] == ["icr", "nop"]
    assert said.err.count("\n") == 1
    for left in ("1 npf exits", "1 kvm_eoi events", "1 lines that are no event of KVM's"):
        assert left in said.err


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "--vendor"),
        (trace(exits(1, "hlt")), "no INIT and no SIPI"),
        (["garbage\0\x1b[2J"], "--vendor"),
    ],
)
def test_a_trace_that_makes_no_schedule(
    lines: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "trace", tmp_path / "out"
    file.write_text("\n".join(lines))
    assert main(["import-trace", str(file), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{file}: " in error
    assert why in error
    assert not out.exists()
