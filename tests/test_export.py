"""`eventdiff export --c`, without KVM: the program compiles, and has the words of the traces."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.cli.main import main
from fuzz.compare.traces import observation_of
from fuzz.report.reproducer import reproducer, words
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import Schedule
from fuzz.schedule.text import load
from tests.test_cli import CLAIM_1, ROOT
from variants.live.emulator import LiveError
from variants.live.host import host_vendor
from variants.live.observe import SVM_EXITS, VMX_EXITS, observation
from variants.live.protocol import COMMANDS, raw

SEEDS = sorted((ROOT / "corpus" / "seeds").glob("*.yaml"))
RACE = """format: 1
vendor: svm
vcpus: 2
steps:
- icr: {from: 0, to: 1, mode: sipi, at: handled}
- hlt: {on: 1}
"""
WARNING = ["-", "kvm_apic_accept_events"]
READS_RAW_STEPS = Path(__file__).with_name("words.c")
FLAG = st.integers(0, 1)
GUEST_STEP = st.fixed_dictionaries(
    {
        "ran": st.integers(-1, 4),
        "dead": st.sampled_from([1, 2]),
        "port": st.sampled_from([0x91, 0x92, 0x93, 0x94, 0x95, 0x96]),
        "boot": st.sampled_from([0xFFFF, 0, 0x100, 0x1200, 0xFF00]),
        "mp": st.integers(-1, 4),
        "latched": st.integers(-1, 1),
        **dict.fromkeys(("executed", "woke", "smm", "vmxon"), FLAG),
        "flags": st.sampled_from([0, 1, 0x100, 0x101, 0x103]),
        "exited": FLAG,
        "reason": st.sampled_from([*VMX_EXITS, *SVM_EXITS, 0x80000021, 9, 0x41]),
        "qualification": st.sampled_from([0, 0x12, 1 << 63]),
        "activity": st.integers(0, 3),
        "warn": st.sampled_from(WARNING),
        "taken": st.lists(st.sampled_from([0x102, 0x31, 0xFF, 0x10000, 0x10100]), max_size=3),
    }
)


def compiled(source: Path, *flags: str) -> Path:
    program = source.with_suffix("")
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", *flags]
    subprocess.run([*command, "-o", program, source], check=True)
    return program


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.stem)
def test_every_seed_compiles_without_a_warning(seed: Path, tmp_path: Path) -> None:
    source = tmp_path / "reproducer.c"
    assert main(["export", "--c", str(seed), "--expect", "yadong", "-o", str(source)]) == 0
    compiled(source)
    assert f"/*\n * {seed.stem}\n" in source.read_text()


def test_it_is_where_asked_and_expects_original(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "reproducer.c"
    assert main(["export", "--c", CLAIM_1]) == 0
    printed = capsys.readouterr().out
    assert main(["export", "--c", CLAIM_1, "--expect", "original", "-o", str(source)]) == 0
    assert source.read_text() == printed
    assert '"hlt: {on: 1}",\n\t  "blocked guest_mode"' in printed


def test_what_cannot_be_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTDIFF_CACHE", str(tmp_path / "none"))
    race, empty, output = (tmp_path / name for name in ("race.yaml", "empty.yaml", "out.c"))
    race.write_text(RACE)
    empty.write_text("format: 1\nvendor: vmx\nvcpus: 2\nsteps: []\n")
    output.write_text("as it was")
    for arguments, said in (
        ([str(race)], f"{race}: a race (`at`): only models run it"),
        ([str(empty)], "empty: no steps"),
        ([CLAIM_1, "--expect", "nobody"], "no model 'nobody', only original, yadong, paolo"),
    ):
        assert main(["export", "--c", *arguments, "-o", str(output)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert said in error
    assert output.read_text() == "as it was"
    assert main(["export", "--c", CLAIM_1, "-o", "/dev/full"]) == 2
    assert capsys.readouterr().err == "eventdiff: /dev/full: No space left on device\n"


def test_no_text_of_a_schedule_ends_the_comment(tmp_path: Path) -> None:
    text = "*/ int x = /* " + "*/" * 60 + " \\"
    schedule = read_schedule(CLAIM_1)._replace(name="*/ #error", about=text)
    source = tmp_path / "odd.c"
    source.write_text(exported(schedule))
    compiled(source)


def exported(schedule: Schedule) -> str:
    """The program, with some trace."""
    shown = observation(0, "nop", {"on": 0}, raw(""), schedule.vendor == "vmx")
    return reproducer(schedule, "nobody", (observation_of(shown),) * len(schedule.steps))


def test_it_skips_where_kvm_cannot_nest(tmp_path: Path) -> None:
    with suppress(LiveError):
        pytest.skip(f"this host's KVM can nest: {host_vendor()}")
    source = tmp_path / "reproducer.c"
    source.write_text(exported(read_schedule(CLAIM_1)))
    run = subprocess.run([compiled(source)], capture_output=True, text=True, check=False)
    assert run.returncode == 4
    assert run.stdout.startswith("TAP version 13\n1..0 # SKIP ")


@pytest.fixture(scope="module", params=["svm", "vmx"])
def in_c(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A vendor, and what puts raw steps into words as reproducers for it do."""
    one = load(f"format: 1\nvendor: {request.param}\nvcpus: 2\nsteps:\n- nop: {{on: 0}}\n")
    source = tmp_path_factory.mktemp(request.param) / "words.c"
    source.write_text(exported(one) + READS_RAW_STEPS.read_text())
    program = compiled(source, "-Dmain=of_the_reproducer")
    with subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as running:
        assert running.stdin
        assert running.stdout
        stdin, stdout = running.stdin, running.stdout

        def ask(numbers: list[Any]) -> str:
            stdin.write(" ".join(map(str, numbers)) + "\n")
            return stdout.readline().rstrip("\n")

        yield request.param, ask


@settings(max_examples=200)
@given(st.sampled_from([*COMMANDS]), GUEST_STEP)
def test_c_has_the_words_of_live_traces(in_c: Any, op: str, one: dict[str, Any]) -> None:
    """What the agent's lines say to variants.live.observe, the program says by itself."""
    vendor, ask = in_c
    args = {"on": 1, "from": 1, "to": 1}
    seen = observation(0, op, args, raw(as_line(one)), vendor == "vmx")
    assert ask(as_numbers(op, one)) == words(observation_of(seen))


def as_numbers(op: str, one: dict[str, Any]) -> list[Any]:
    """What tests/words.c takes."""
    first = [one[name] for name in ("ran", "dead", "port", "boot", "mp", "latched", "executed")]
    rest = [one[name] for name in ("woke", "smm", "vmxon", "flags", "exited")]
    exit_ = [f"{one['reason']:x}", f"{one['qualification']:x}", one["activity"]]
    taken = [f"{value:x}" for value in one["taken"]]
    return [COMMANDS[op], *first, *rest, *exit_, one["warn"], len(taken), *taken]


def as_line(one: dict[str, Any]) -> str:
    """What the agent prints."""
    fields: dict[str, Any] = {name: one[name] for name in one if isinstance(one[name], int)}
    fields |= {"warn": one["warn"], "taken": ",".join(f"{value:x}" for value in one["taken"])}
    if one["exited"]:
        fields["exit"] = f"{one['reason']:x},{one['qualification']:x},{one['activity']}"
    return " ".join(f"{name}={value}" for name, value in fields.items())
