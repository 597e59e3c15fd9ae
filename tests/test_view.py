"""How a campaign stands: live, from its folder, and in plain lines."""

import fcntl
import json
import os
import pty
import struct
import sys
import termios
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.kills import run
from fuzz.campaign.folder import Before, enter, locked, make_room
from fuzz.campaign.status import (
    LATEST,
    Noting,
    Pulse,
    State,
    Status,
    read_status,
    status_of,
)
from fuzz.cli import output, view
from fuzz.cli.ends import CERTIFICATE, certified
from fuzz.cli.main import main
from variants.catalogue import choose

FOUND = [
    {
        "signature": f"svm: latent: number {number}",
        "kind": "latent" if number % 2 else "visible",
        "first": {"time": "", "seconds": float(number), "schedules": 0, "campaign": "c"},
    }
    for number in range(5)
]
TOLD = {
    "signatures": FOUND,
    "schedules": 700,
    "seconds": 7.0,
    "session": {"number": 1, "schedules": 0, "seconds": 0.0},
}
PULSE = Pulse(
    State.FUZZING,
    rate=90.0,
    overall=80.0,
    workers=2,
    quiet=3.0,
    corpus=8,
    coverage=9,
    found=4,
    wanted=6,
    beyond=1,
    left=53.0,
    until_quiet=600,
    until_complete=True,
)


def held(status: Status, width: int) -> str:
    """What a terminal of `width` columns shows."""
    console = Console(width=width, force_terminal=True, no_color=True, record=True)
    view.put(console, view.shown(status))
    return console.export_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a campaign that has run a session."""
    (tmp_path / "campaign.json").write_text(json.dumps(TOLD))
    make_room(tmp_path, ("svm",), 1)
    return tmp_path


def test_a_campaign_that_runs_and_one_that_does_not(folder: Path) -> None:
    noting = Noting(folder, 60.0, None, frozenset(map(str, range(6))), True)
    found = frozenset(["1", "2", "other"])
    corpora = folder / "corpus"
    with ExitStack() as stack:
        enter(stack, folder, resume=True)
        assert noting.note((700, 7.0), 3.0, 2, 30, found, 3)
        assert not noting.note((750, 7.5), 3.0, 2, 30, found, 3)
        assert noting.note((900, 9.0), 3.0, 2, 30, found, 3)
        running = read_status(folder)
        assert noting.note((1000, 29.0), 3.0, 2, 30, found, 3)
        assert read_status(folder).pulse.rate == 5.0
        noting.finish(29.0)
        assert noting.note((1100, 30.0), 3.0, 0, 30, found, 2)
        assert noting.note((1100, 60.0), 3.0, 0, 30, found, 1)
        finishing = read_status(folder)
    pulse = finishing.pulse
    assert (pulse.state, pulse.overall, pulse.rough) == (State.FINISHING, 400 / 22, 1)
    assert (finishing.seconds, pulse.beyond) == (60.0, 1)
    assert "1 signature left" in held(finishing, 200)
    assert "finishing" in view.line(finishing)
    pulse = running.pulse
    assert pulse.state == State.FUZZING
    assert running.running
    assert pulse.rate == 100.0
    assert (pulse.workers, pulse.found, pulse.wanted, pulse.left) == (2, 2, 6, 51.0)
    assert pulse.corpus == len(list((corpora / "svm").iterdir()))
    ended = read_status(folder)
    assert not ended.running
    assert (ended.pulse.workers, ended.pulse.rate, ended.pulse.left) == (0, 0.0, None)
    assert (ended.schedules, ended.kinds) == (700, {"latent": 2, "visible": 3})
    assert [one.seconds for one in ended.latest] == [4.0, 3.0, 2.0][:LATEST]


def test_one_that_starts_shows_nothing_of_the_session_before(folder: Path, tmp_path: Path) -> None:
    (folder / "work" / "status").write_text(json.dumps(PULSE._asdict()))
    assert read_status(folder).pulse.state == State.STOPPED
    with ExitStack() as stack:
        enter(stack, folder, resume=True)
        starting = read_status(folder)
    assert (starting.running, starting.pulse) == (True, Pulse())
    assert "campaign     " in held(starting, 80)
    assert ": starting" in held(starting, 80)


def test_one_that_has_written_nothing_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path):
        assert main(["status", str(tmp_path)]) == 2
    assert "just starting" in capsys.readouterr().err


def test_looking_keeps_no_campaign_out(folder: Path) -> None:
    """Not even in the moment in which it looks."""
    with (folder / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        child = os.fork()
        if not child:
            with locked(folder):
                os._exit(0)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "not running" in said
    assert "5 signatures: 2 latent, 3 visible" in said
    assert main(["status", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schedules"] == 700
    assert told["latest"][0] == {"signature": "svm: latent: number 4", "seconds": 4.0}
    assert told["running"] is False


def test_status_of_what_is_no_campaign(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "work" / "status").write_text("{}[")
    (tmp_path / "empty").mkdir()
    for place in (folder, tmp_path / "empty", tmp_path / "none"):
        assert main(["status", str(place)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("width", [80, 40, 12])
def test_a_line_is_a_line_on_any_terminal(width: int) -> None:
    long = {**FOUND[0], "signature": "svm: liveness: " + "long " * 60 + "\x1b[2J"}
    ran = Before(1, 12345678, 98765.0, {"signatures": [long]})
    lines = held(status_of("campaign", ran, PULSE, True), width).splitlines()
    assert len(lines) == 8
    assert max(map(len, lines)) <= width
    assert "\x1b" not in "".join(lines)


def test_what_will_end_it() -> None:
    status = status_of("campaign", Before(1, 700, 7.0, TOLD), PULSE, True)
    text = held(status, 200)
    whole = "4 of 6 signatures of the certificate and 1 that it has not: 2 latent, 3 visible"
    assert whole in text
    assert (
        "in 53 s, or when nothing was new for 10 min, or when all are found, or with Ctrl-C" in text
    )


@given(st.floats(0, 1e7))
def test_spans(seconds: float) -> None:
    """Two units at most, and no more than the smaller one away."""
    units = {"d": 86400, "h": 3600, "min": 60, "s": 1}
    words = view.span(seconds).split()
    told = list(zip(words[::2], words[1::2], strict=True))
    assert 1 <= len(told) <= 2
    lasting = sum(int(number) * units[unit] for number, unit in told)
    smaller = {"d": 3600, "h": 60}.get(told[0][1], 1)
    assert lasting - 1 <= seconds < lasting + smaller


def test_plain_lines(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no terminal; none before its time."""
    with view.watching(folder) as tell:
        tell()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(output, "PAUSE", 0.0)
    with view.watching(folder) as tell:
        tell()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "700 schedules" in error
    assert "5 signatures" in error


def test_recall_is_told_of_what_is_certified() -> None:
    told = json.loads(CERTIFICATE.read_text())["signatures"]
    names = frozenset(one["signature"] for one in told)
    both, svm = certified(("svm", "vmx"), choose("", [])), certified(("svm",), choose("", []))
    assert both == names
    assert svm == frozenset(name for name in names if name.startswith("svm: "))
    assert certified(("svm",), choose("original,yadong", [])) is None


def interrupted(out: Path, when: bytes, *options: str) -> tuple[int, bytes]:
    """A session on a terminal, with Ctrl-C once it has said `when`: its exit status, and what it
    said. The terminal is then as it was."""
    child, terminal = pty.fork()
    if not child:
        chosen = ["--vendor", "svm", "--variants", "original,yadong", "--out", str(out), *options]
        os.execv(sys.executable, [sys.executable, "-m", "fuzz.cli", "fuzz", *chosen])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    before = termios.tcgetattr(terminal)
    said = b""
    while when not in said:
        said += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    after = before
    try:
        while part := os.read(terminal, 4096):
            said += part
            after = termios.tcgetattr(terminal)
    except OSError:
        pass  # Linux's way to say that nobody is there any more.
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    assert after == before
    assert said.rfind(b"\x1b[?25h") > said.rfind(b"\x1b[?25l")
    assert not read_status(out).running
    return status, said


def test_a_session_on_a_terminal(tmp_path: Path) -> None:
    """It is watched, and Ctrl-C ends it with its reports."""
    status, said = interrupted(tmp_path / "campaign", b"workers")
    assert status in (0, 1), said
    assert b"finishing" in said
    assert b"signatures, " in said.rpartition(b"\x1b[?25h")[2]


def test_ctrl_c_ends_at_once_what_only_finishes(tmp_path: Path) -> None:
    """And what is rough yet is finished by the next session."""
    out = tmp_path / "campaign"
    status, said = interrupted(out, b"finishing", "--time", "5")
    assert (status, b"interrupted" in said) == (2, True), said
    rough = [one for one in kept_in(out) if one.get("rough")]
    assert rough
    assert run(out, "--resume", "--time", "1").returncode == 1
    assert not any(one.get("rough") for one in kept_in(out))


def kept_in(out: Path) -> list[dict[str, object]]:
    """The signatures that campaign.json has."""
    told: list[dict[str, object]] = json.loads((out / "campaign.json").read_text())["signatures"]
    return told


def test_a_session_without_a_terminal_is_quiet(tmp_path: Path) -> None:
    """For a minute, that is."""
    ended = run(tmp_path / "out", "--time", "1", "--vendor", "svm")
    assert ended.stderr == ""
    assert "\x1b" not in ended.stdout
