"""Files, names and terminals that are unusual: read, written and shown as a user expects."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from stat import S_IMODE
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.cli.main import main
from fuzz.schedule import codes
from fuzz.schedule.file import MAX_BYTES, write_whole
from fuzz.schedule.schedule import printable
from fuzz.schedule.text import load

ROOT = Path(__file__).parent.parent
SEED = ROOT / "corpus" / "seeds" / "svm-init-startup.yaml"
SCHEDULE = load(SEED.read_text())
CODES = codes.encode(SCHEDULE)
COMMAND = [sys.executable, "-m", "fuzz.cli"]
OWN = """
from variants.variant import Variant

VARIANT = Variant("mäin", "nothing changed")
"""


def eventdiff(
    *arguments: str | Path, given: bytes = b"", **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=given,
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def one_line(error: str) -> bool:
    return error.endswith("\n") and error[:-1].isprintable()


def test_convert_writes_through_a_device(capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = os.openpty()
    device = os.ttyname(theirs)
    assert main(["convert", str(SEED), device]) == 0
    assert os.read(ours, 1 << 16) == CODES.replace(b"\n", b"\r\n")
    assert Path(device).is_char_device()
    os.close(ours)
    os.close(theirs)
    assert main(["convert", str(SEED), "/dev/full"]) == 2
    assert capfd.readouterr().err == "eventdiff: /dev/full: No space left on device\n"
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("name", ["fifo", "link"])
def test_convert_writes_through_a_fifo(name: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    assert main(["convert", str(SEED), str(tmp_path / name)]) == 0
    reader.join()
    assert got == [CODES]
    assert fifo.is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_convert_follows_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    case, link, far, loop = (tmp_path / name for name in ("case", "link", "far", "loop"))
    link.symlink_to(case)
    far.symlink_to("link")
    loop.symlink_to("loop")
    for there in (False, True):
        assert case.exists() == there
        assert main(["convert", str(SEED), str(far)]) == 0
        assert case.read_bytes() == CODES
        assert far.readlink() == Path("link")
        assert link.readlink() == case
        assert not case.is_symlink()
    for bad in (loop, folder, tmp_path / "none" / "case", case / "case"):
        assert main(["convert", str(SEED), str(bad)]) == 2
        error = capsys.readouterr().err
        assert one_line(error)
        assert error.startswith(f"eventdiff: {bad}: ")
    assert sorted(tmp_path.iterdir()) == sorted([case, far, folder, link, loop])


@given(st.binary(max_size=99), st.binary(max_size=99), st.integers(0, 0o777))
def test_a_file_is_replaced_and_keeps_its_mode(old: bytes, new: bytes, mode: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("x" * 255)
        path.write_bytes(old)
        with path.open("rb") as reader:
            path.chmod(mode)
            write_whole(path, new)
            assert reader.read() == old
        assert S_IMODE(path.stat().st_mode) == mode
        path.chmod(0o600)
        assert path.read_bytes() == new
        assert list(Path(folder).iterdir()) == [path]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    case = tmp_path / "case"
    case.write_bytes(b"as it was")
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *COMMAND, "convert"]
    command += [str(SEED), str(case)]
    run = subprocess.run(command, capture_output=True, check=False, cwd=ROOT, text=True)
    assert run.returncode == 2
    assert run.stderr == f"eventdiff: {case}: File too large\n"
    assert case.read_bytes() == b"as it was"
    assert list(tmp_path.iterdir()) == [case]


def test_convert_reads_its_input_once() -> None:
    as_yaml = eventdiff("convert", "/dev/stdin", given=CODES)
    assert load(as_yaml.stdout.decode()) == SCHEDULE
    as_bytes = eventdiff("convert", "/dev/stdin", given=as_yaml.stdout)
    assert as_bytes.stdout == CODES
    assert as_yaml.stderr == as_bytes.stderr == b""


@pytest.mark.parametrize("name", ["a\nb\x1b[31m", "c\x9b1m\u202ed\r", os.fsdecode(b"\xff\xc3")])
def test_names_of_files_reach_the_terminal_escaped(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, there, bare = str(tmp_path / name), tmp_path / f"{name}.yaml", tmp_path / f"{name}2"
    there.write_text("format: 1\nvendor: svm\nvcpus: 2\nsteps: []\n")
    bare.write_bytes(codes.fuzz_input(SCHEDULE))
    commands: tuple[list[str], ...] = (
        *(["replay", missing], ["minimize", missing], ["convert", missing]),
        *(["replay", "--variant", missing, str(SEED)], ["replay", "--variants", name, str(SEED)]),
        *(["explore", "--steps", name], ["explore", "--check", missing], ["fuzz", "--time", name]),
        *(["live", "run", "--variants", "original", missing], [name], ["replay", "x", f"--{name}"]),
        *(["live", "conform", missing], ["convert", str(SEED), f"{missing}/case"]),
    )
    for command in commands:
        try:
            status = main(command)
        except SystemExit as exit:
            status = int(str(exit.code))
        assert status == 2, command
        assert one_line(capsys.readouterr().err), command
    for file in (there, bare):
        for command in (["replay"], ["replay", "--json"], ["convert"]):
            assert main([*command, str(file)]) == 0
    assert main(["minimize", str(there)]) == 0
    shown = capsys.readouterr()
    assert all(line.isprintable() or b"\0" in line.encode() for line in shown.out.split("\n"))
    assert one_line(shown.err)


def test_closed_streams(tmp_path: Path) -> None:
    for redirection, arguments, said in (
        (">&-", ["convert", str(SEED)], "eventdiff: standard output: Bad file descriptor\n"),
        ("2>&-", ["replay", str(tmp_path / "missing")], ""),
    ):
        shell = ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, *arguments]
        run = subprocess.run(shell, capture_output=True, check=False, cwd=ROOT, text=True)
        assert (run.returncode, run.stdout, run.stderr) == (2, "", said)


@given(st.text())
def test_what_is_printable_stays(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text) == text or not text.isprintable()
    assert printable(printable(text)) == printable(text)


def test_a_terminal_without_the_characters(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN, encoding="utf-8")
    case = tmp_path / "grüße 😀.yaml"
    case.write_text(SEED.read_text().replace("name: ", "name: ü "), encoding="utf-8")
    options: list[str | Path] = ["--variants", "mäin,yadong", "--variant", own]
    two = ROOT / "corpus" / "seeds" / "svm-sipi-in-l2-then-hlt.yaml"
    commands: tuple[tuple[list[str | Path], int], ...] = (
        (["replay", case], 0),
        (["replay", "--json", case], 0),
        (["replay", tmp_path / "ö"], 2),
        (["variants", "--variant", own], 0),
        (["replay", *options, two], 1),
        (["minimize", *options, two], 1),
        (["convert", case, tmp_path / "ü"], 0),
        (["convert", tmp_path / "ü"], 0),
    )
    for command, status in commands:
        run = eventdiff(*command, PYTHONIOENCODING="ascii")
        assert run.returncode == status, run.stderr
        assert b"Traceback" not in run.stderr
        if command[0] in ("minimize", "convert") and run.stdout:
            # A schedule is UTF-8, whatever the terminal.
            assert load(run.stdout.decode()).name
            assert "ä" in run.stdout.decode() or "ü" in run.stdout.decode()


def test_what_is_too_large_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge, long, many = tmp_path / "huge", tmp_path / "long.yaml", tmp_path / "many.yaml"
    with huge.open("wb") as file:
        file.truncate(50_000_000)
    head = "format: 1\nvendor: svm\nvcpus: 2\nsteps:\n"
    long.write_text(head + "- nop: {on: 1}\n" * 100_000)
    many.write_text(head + "- nop: {on: 1}\n" * 4001)
    for path in (huge, long, many, Path("/dev/zero")):
        assert main(["replay", str(path)]) == 2
        error = capsys.readouterr().err
        assert one_line(error)
        assert "4000" in error
        assert path == many or "512 KB" in error
    longest = SEED.read_bytes() + b"#" * (MAX_BYTES - SEED.stat().st_size)
    long.write_bytes(longest)
    assert main(["replay", str(long)]) == 0
    long.write_bytes(longest + b"#")
    assert main(["replay", str(long)]) == 2


def test_schedules_in_json_have_the_keys_of_the_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["explore", "--no-races", "--steps", "init,sipi,hlt,nop", "--vendor", "svm"]
    assert main([*command, "--depth", "3", "--json", "--out", str(tmp_path)]) == 1
    found = json.loads(capsys.readouterr().out)
    schedules = [one["schedule"] for one in found["signatures"]]
    assert {key for one in schedules for step in one["steps"] for key in step} >= {"icr", "hlt"}
    for one in schedules:
        assert load(json.dumps(one)).steps
        assert all("on" in step.get("hlt", {"on": 1}) for step in one["steps"])
