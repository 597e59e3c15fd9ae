"""Emulators that die, guests that crash, full disks, two setups at once, Ctrl-C."""

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.running import (
    COMMAND,
    ROOT,
    SEEDS,
    environment,
    eventdiff,
    processes_in,
    start,
    wait_for,
)
from variants.live.entries import SETUP

TRIPLE_FAULT = """format: 1
name: triple-fault
about: An interrupt in SMM, where the IDT limit is 0.
vendor: svm
vcpus: 2
steps:
- smi: {to: 1}
- nop: {on: 1}
- sti: {on: 1}
- icr: {from: 0, to: 1, mode: fixed, vector: 0x31}
- nop: {on: 1}
"""


def many(folder: Path, count: int) -> list[Path]:
    """The claim's schedule many times over."""
    text = (SEEDS / "svm-sipi-in-l2-then-hlt.yaml").read_text()
    files = [folder / f"{number:03}.yaml" for number in range(count)]
    for file in files:
        file.write_text(text.replace("name: svm-sipi-in-l2-then-hlt", f"name: case-{file.stem}"))
    return files


def results(scratch: Path) -> int:
    """How many schedules the emulators that work in `scratch` have done."""
    return sum(file.read_bytes().count(b"\nE ") for file in scratch.glob("*/serial"))


def kill_in_a_schedule(scratch: Path) -> bool:
    """Kill an emulator in the midst of its second schedule or a later one, if one is in one.

    It stands still while that is looked at, or it might meanwhile have done all it has to do.
    """
    for serial in scratch.glob("*/serial"):
        for emulator in processes_in(serial.parent):
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(emulator, signal.SIGSTOP)
                before, begun, lines = serial.read_bytes().rpartition(b"\nB ")
                if begun and b"\nE " in before and b"\nE " not in lines:
                    os.kill(emulator, signal.SIGKILL)
                    return True
                os.kill(emulator, signal.SIGCONT)
    return False


def test_a_killed_emulator_costs_nothing_but_time(cache: Path, tmp_path: Path) -> None:
    files = many(tmp_path, 200)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with start(cache, scratch, "live", "run", "--json", "--variants", "yadong", *files) as run:
        wait_for(lambda: kill_in_a_schedule(scratch), run=run)
        printed, errors = run.communicate()
    assert run.returncode == 0, errors
    assert "QEMU ended (status -9), run again" in errors
    shown = [json.loads(line) for line in printed.splitlines()]
    assert [one["schedule"] for one in shown] == [f"case-{file.stem}" for file in files]
    assert {one["traces"]["yadong"][-1]["outcome"] for one in shown} == {"l2"}
    assert list(scratch.iterdir()) == []


def lines_of_second(serial: Path) -> int:
    """How many steps of the second schedule have been printed; -1 if it is not under way."""
    begun = serial.read_bytes().replace(b"\r", b"").rpartition(b"B 1\n")
    return -1 if not begun[1] or b"\nE 1 " in begun[2] else begun[2].count(b"\n")


def test_an_emulator_that_dies_twice_is_trouble(cache: Path, tmp_path: Path) -> None:
    """One of two variants loses its emulator in the second schedule, twice: no verdict on that."""
    files = many(tmp_path, 3)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    killed: list[Path] = []
    first: set[Path] = set()

    def kill_in_second() -> None:
        for serial in scratch.glob("*/serial"):
            folder, lines = serial.parent, lines_of_second(serial)
            if not killed and lines >= 0:
                first.update(scratch.glob("*/"))
            elif not killed or folder in first or folder in killed or lines < 10:
                continue
            killed.append(folder)
            for process in processes_in(folder):
                os.kill(process, signal.SIGKILL)

    text = files[1].read_text().partition("steps:\n")
    spin = "".join("- sti: {on: 1}\n- cli: {on: 1}\n- hlt: {on: 1}\n" for _ in range(200))
    files[1].write_text(f"{text[0]}steps:\n{spin}")
    names = ("original", "paolo")
    printing = tmp_path / "printed"
    command = ["live", "run", "--json", "--variants", ",".join(names), *map(str, files)]
    with printing.open("w") as output, start(cache, scratch, *command, stdout=output) as run:
        while run.poll() is None:
            kill_in_second()
            time.sleep(0.002)
        _, errors = run.communicate()
    assert len(killed) == 2
    assert run.returncode == 2, errors
    shown = [json.loads(line) for line in printing.read_text().splitlines()]
    assert [one["divergences"] for one in shown] == [[], [], []]
    (lost,) = [name for name in names if shown[1]["traces"][name][-1]["outcome"] == "error"]
    (kept,) = {*names} - {lost}
    trace, whole = (shown[1]["traces"][name] for name in (lost, kept))
    assert len(whole) == 600
    at = trace[-1]["step"]
    assert 10 <= at == len(trace) - 1 < 600
    assert trace[:-1] == whole[:at]
    assert trace[-1]["warn"] == "live run: QEMU ended (status -9)"
    told = f"live {lost}: case-001: QEMU ended (status -9)"
    assert f"{told}, run again\n" in errors
    assert f"{told}, given up at step {at}\n" in errors
    assert errors.count("\n") == 2


def test_a_triple_fault_is_an_observation(cache: Path, tmp_path: Path) -> None:
    first, crash, last = many(tmp_path, 3)
    crash.write_text(TRIPLE_FAULT)
    run = eventdiff(cache, "live", "run", "--json", "--variants", "original", first, crash, last)
    assert run.returncode == 0, run.stderr
    ends = [
        json.loads(line)["traces"]["original"][-1]["outcome"] for line in run.stdout.splitlines()
    ]
    assert ends == ["blocked", "shutdown", "blocked"]


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(cache: Path, tmp_path: Path, by: signal.Signals) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with start(cache, scratch, "live", "run", *many(tmp_path, 200)) as run:
        wait_for(lambda: results(scratch) > 0)
        run.send_signal(by)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 2
    assert errors == "eventdiff: interrupted\n"
    assert list(scratch.iterdir()) == []
    assert processes_in(scratch) == []


def without_agent(cache: Path) -> None:
    for agent in (cache / "store").glob("agent-*"):
        shutil.rmtree(agent)


def is_sound(cache: Path) -> bool:
    """Does a setup of the cache work now, and a run with it?"""
    again = eventdiff(cache, "live", "setup")
    run = eventdiff(cache, "live", "run", "--variants", "original", *SEEDS.glob("svm-sipi-in*"))
    return (again.returncode, run.returncode) == (0, 0) and not list(cache.glob("making-*"))


def test_a_file_that_cannot_grow_is_one_line(own_cache: Path) -> None:
    without_agent(own_cache)
    run = subprocess.run(
        [*COMMAND, "live", "setup"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(own_cache),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "Traceback" not in run.stderr
    assert is_sound(own_cache)


def test_a_full_disk_is_one_line(own_cache: Path, tmp_path: Path) -> None:
    """A disk of 1 MB has room for the list of what is there, but not for a build."""
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "eventdiff-test", str(small)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small tmpfs here")
    try:
        (small / "store").mkdir()
        for kind in ("linux-*", "bochs-*"):
            for folder in (own_cache / "store").glob(kind):
                (small / "store" / folder.name).symlink_to(folder)
        shutil.copy(own_cache / SETUP, small)
        run = eventdiff(small, "live", "setup")
        assert run.returncode == 2
        assert run.stderr.count("\n") == 1
        assert "No space left on device" in run.stderr
        assert (small / SETUP).read_text() == (own_cache / SETUP).read_text()
        assert list(small.glob("making-*")) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_mirror_that_cannot_be_reached(own_cache: Path) -> None:
    before = (own_cache / SETUP).read_text()
    nowhere = "http://127.0.0.1:9/debian"
    run = eventdiff(own_cache, "live", "setup", "--refresh", "--mirror", nowhere)
    assert run.returncode == 2
    assert run.stderr.startswith(f"eventdiff: apt-get failed: E: Failed to fetch {nowhere}/dists")
    assert run.stderr.count("\n") == 1
    assert (own_cache / SETUP).read_text() == before


def test_a_second_setup_waits(own_cache: Path, tmp_path: Path) -> None:
    without_agent(own_cache)
    with (own_cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        setups = [start(own_cache, tmp_path, "live", "setup") for _ in range(2)]
        time.sleep(3)
        assert [one.poll() for one in setups] == [None, None]
        assert list((own_cache / "store").glob("agent-*")) == []
    for one in setups:
        printed, errors = one.communicate()
        assert (one.returncode, errors) == (0, "")
        assert "\nready: original, " in printed
    assert is_sound(own_cache)


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"EVENTDIFF_CACHE": "/dev/null/cache"}, 1, "live setup failed: "),
        ({"PATH": ""}, 0, "no live runs here: "),
    ],
    ids=["trouble", "nothing to be had"],
)
def test_only_what_cannot_be_had_skips_live_tests(
    cache: Path, changed: dict[str, str], status: int, said: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "tests/live/test_claims.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**environment(cache), "EVENTDIFF_LIVE": "1", **changed},
    )
    assert (run.returncode, said in run.stdout) == (status, True), run.stdout
