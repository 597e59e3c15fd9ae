"""Campaigns as folders: killed, gone on with, ended, kept apart."""

import hashlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.kills import kept, kill_after, lost, run, running, wait_until_alone
from fuzz.campaign.campaign import Ends, Settings, asked_to_end
from fuzz.campaign.collector import Collector
from fuzz.campaign.corpus import BLOCK, bound, taken
from fuzz.campaign.coverage import ByOutline
from fuzz.campaign.folder import LOCK, MAX_LOG, enter, keep_aside, make_room, rotate
from fuzz.campaign.local import hire
from fuzz.campaign.statistics import Statistics
from fuzz.campaign.walker import Walker
from fuzz.cli.main import main
from fuzz.compare.compared import compared
from fuzz.compare.signature import Form
from fuzz.memory.automaton import Automaton
from fuzz.page.read import samples_in
from fuzz.report.folder import slug_of
from fuzz.report.replay import automaton_of
from fuzz.schedule.codes import fuzz_input
from fuzz.schedule.file import append_line, drop_cut_off, read_schedule, whole_lines
from fuzz.schedule.seeds import SEEDS
from fuzz.schedule.text import load
from variants.catalogue import choose
from variants.machine.step import VENDORS, Vendor

CLAIM = "svm: liveness: original | yadong: SIPI in L2 INIT-intercepted: one waits, another goes on"
SCHEDULE = read_schedule(str(SEEDS / "svm-sipi-in-l2-then-hlt.yaml"))


def test_killed_at_random_moments_and_gone_on_with(tmp_path: Path) -> None:
    """Nothing found is lost or found twice, schedules count on, no process is left, and what is
    there can be read."""
    draw, out = random.Random(1), tmp_path / "campaign"
    with running(out, "--time", "600") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    wait_until_alone(out)
    for _ in range(3):
        before = kept(out)
        kill_after(out, draw.uniform(0.2, 8))
        assert lost(before, kept(out)) == []
        assert main(["show", str(out)]) == 1
    before = kept(out)
    ended = run(out, "--resume", "--time", "3")
    assert ended.returncode == 1, ended.stderr
    assert lost(before, kept(out)) == []
    told = json.loads((out / "campaign.json").read_text())
    assert told["session"]["schedules"] == before.schedules
    announced = {line for line in ended.stdout.splitlines() if line.startswith("svm: ")}
    assert announced == kept(out).first.keys() - before.first.keys()
    assert not list((out / "work").glob("*.json"))
    for name in kept(out).first:
        assert (out / slug_of(name) / "test_reproducer.py").exists()
    rows = [json.loads(line) for line in (out / "statistics.jsonl").read_text().splitlines()]
    for field in ("seconds", "schedules", "signatures", "coverage"):
        values = [row[field] for row in rows]
        assert values == sorted(values)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_session_with_its_reports(number: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "campaign"
    with running(out, "--time", "600") as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, number)
        said, error = process.communicate()
    assert process.returncode == 1, error
    assert "findings; see" in said
    assert (out / "index.html").exists()
    wait_until_alone(out)


def test_a_second_signal_ends_it_at_once() -> None:
    with asked_to_end() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_folder_has_one_campaign_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "campaign"
    with ExitStack() as stack:
        enter(stack, out, resume=False)
        for way in ("", "--resume", "--fresh"):
            other = run(out, "--time", "1", *filter(None, [way]))
            assert other.returncode == 2
            assert other.stderr == f"eventdiff: {out}: a campaign is running there\n"


def test_a_campaign_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "campaign"
    out.mkdir()
    (out / "campaign.json").write_text('{"signatures": [], "schedules": 7, "seconds": 2.0}')
    assert main(["fuzz", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--resume" in error
    with ExitStack() as stack:
        assert enter(stack, out, resume=True).schedules == 7
    aside = keep_aside(out)
    assert (aside / "campaign.json").exists()
    with ExitStack() as stack:
        assert enter(stack, out, resume=False).schedules == 0
    assert [one.name for one in out.iterdir()] == [LOCK]


def test_other_files_are_not_mixed_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for way in ([], ["--resume"], ["--fresh"]):
        assert main(["fuzz", "--out", str(tmp_path), *way]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "pytest.ini").read_text() == "[pytest]\n"


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "--out", "/sys/kernel/eventdiff"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_other_choices_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = {"signatures": [], "schedules": 0, "seconds": 0.0, "vendors": ["svm"], "mix": False}
    (tmp_path / "campaign.json").write_text(
        json.dumps({**told, "options": ["--variants", "original,yadong"]})
    )
    for other in (["--vendor", "vmx"], ["--variants", "original,paolo"], ["--mix"]):
        assert main(["fuzz", "--out", str(tmp_path), "--resume", *other]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert other[0] in error


def complaints(error: str) -> list[str]:
    """The lines on stderr but those that say how a campaign stands, if it takes a minute."""
    return [line for line in error.splitlines() if " schedules, " not in line]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system that is soon full."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up(full: Path) -> None:
    """One line; and once there is room, the campaign goes on."""
    out = full / "campaign"
    ended = run(out, "--time", "600")
    assert ended.returncode == 2
    (complaint,) = complaints(ended.stderr)
    assert "No space left on device" in complaint
    subprocess.run(["mount", "-o", "remount,size=30m", str(full)], check=True)
    before = kept(out)
    ended = run(out, "--resume", "--time", "5")
    assert ended.returncode == 1, ended.stderr
    assert lost(before, kept(out)) == []


def collecting(names: str, out: Path, announced: list[Form]) -> Collector:
    """What collects for a campaign that compares `names` in `out`."""
    variants = choose(names, [])
    automata: dict[Vendor, Automaton] = {"svm": automaton_of("svm", variants)}
    return Collector(automata, variants, [], out, {}, lambda: (5, 1.0), announced.append, 0)


def test_a_latent_difference_is_found_that_another_vcpu_hides(tmp_path: Path) -> None:
    """vCPU 0 keeps a SIPI of its own in one variant; what differs on vCPU 1 is not told then."""
    steps = """
- icr: {from: 0, to: self, mode: sipi, vector: 0x12}
- stgi: {on: 1}
- icr: {from: 0, to: 1, mode: init, at: event-cleared}
- vmrun: {on: 1}
"""
    hidden = load(f"format: 1\nvendor: svm\nvcpus: 2\nsteps:{steps}")
    signature = "svm: latent: original+yadong | paolo: race with INIT: hidden state"
    collected = collecting("", tmp_path, [])
    collected.take(fuzz_input(hidden), signature)
    (kept,) = (form for one, form in collected.best.items() if str(one) == signature)
    assert len(kept.schedule.steps) == 2


def told_of(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "campaign.json").read_text())
    return told


def test_what_no_longer_shows_is_kept_and_marked(tmp_path: Path) -> None:
    """And is found again when it shows again, first seen when it was."""
    announced: list[Form] = []
    begun = collecting("original,yadong", tmp_path, announced)
    begun.take(fuzz_input(SCHEDULE), CLAIM)
    begun.report()
    assert CLAIM in [str(one.signature) for one in announced]
    before = told_of(tmp_path)["signatures"]
    assert {one["first"]["schedules"] for one in before} == {5}
    changed = collecting("original,paolo", tmp_path, announced)
    changed.restore(told_of(tmp_path), True)
    changed.write_summary()
    told = told_of(tmp_path)
    assert CLAIM in [one["signature"] for one in told["gone"]]
    assert CLAIM not in [one["signature"] for one in told["signatures"]]
    assert (tmp_path / slug_of(CLAIM) / "reproducer.yaml").exists()
    assert "No longer shown" in (tmp_path / "summary.md").read_text()
    announced.clear()
    back = collecting("original,yadong", tmp_path, announced)
    back.restore(told, True)
    back.report()
    assert told_of(tmp_path)["gone"] == []
    assert told_of(tmp_path)["signatures"] == before
    assert announced == []


def test_a_damaged_input_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "campaign.json").write_text('{"signatures": [], "schedules": 0, "seconds": 0}')
    make_room(tmp_path, ("svm",), 1)
    whole, cut = tmp_path / "corpus" / "svm" / hashlib.sha1(b"ab").hexdigest(), b"a"
    whole.write_bytes(b"ab")
    damaged = whole.with_name(hashlib.sha1(b"abc").hexdigest())
    damaged.write_bytes(cut)
    with ExitStack() as stack:
        enter(stack, tmp_path, resume=True)
    assert whole.exists()
    assert not damaged.exists()


def test_a_corpus_is_bounded_and_covers_the_same(tmp_path: Path) -> None:
    """As long as the bound allows it."""
    subject = compared("svm", choose("", []))
    steps = SCHEDULE.steps
    for number, some in enumerate([steps, steps[:2], steps * 2, steps[:1], steps[1:], steps]):
        (tmp_path / str(number)).write_bytes(fuzz_input(SCHEDULE._replace(steps=some)))
    paths = sorted(tmp_path.iterdir())

    def covered(some: Sequence[Path]) -> set[int]:
        return {node.counter for one in some for node in walker.walk(one.read_bytes())}

    walker = Walker(Automaton(subject, counting=ByOutline()))
    before = covered(paths)
    bound(tmp_path, subject, taken(tmp_path))
    assert sorted(tmp_path.iterdir()) == paths
    bound(tmp_path, subject, taken(tmp_path) - 1)
    left = sorted(tmp_path.iterdir())
    assert len(left) < len(paths)
    assert covered(left) == before
    bound(tmp_path, subject, BLOCK)
    assert taken(tmp_path) <= BLOCK


def test_logs_begin_anew_while_they_are_written(tmp_path: Path) -> None:
    log = tmp_path / "svm-0.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * (MAX_LOG + 1))
        rotate(tmp_path)
        writer.write(b"on")
    assert log.read_bytes() == b"on"
    assert log.with_suffix(".log.1").stat().st_size == MAX_LOG + 1
    rotate(tmp_path)
    assert log.read_bytes() == b"on"


LINES = st.lists(st.text("ab{}", max_size=5), max_size=5)


@given(lines=LINES, cut=st.integers(0, 30), more=st.text("ab", max_size=3))
def test_appending_after_a_cut(
    lines: list[str], cut: int, more: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of lines cut off anywhere the whole ones stay, and the next is a line of its own."""
    path = tmp_path_factory.mktemp("lines") / "file"
    path.touch()
    for line in lines:
        append_line(path, line)
    path.write_bytes(path.read_bytes()[:cut])
    whole = whole_lines(path)
    assert whole == lines[: len(whole)]
    drop_cut_off(path)
    append_line(path, more)
    assert whole_lines(path) == [*whole, more]


def test_statistics_go_on(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "svm").mkdir(parents=True)
    corpora = tmp_path / "corpus"
    Statistics(tmp_path, 0.0).note(1.0, 10, 2, 30, corpora)
    again = Statistics(tmp_path, 1.0)
    again.note(1.5, 20, 2, 7, corpora)
    assert again.new_at == 1.0
    again.note(2.0, 20, 3, 7, corpora)
    assert again.new_at == 2.0
    samples = samples_in(tmp_path)
    assert [one.signatures for one in samples] == [2, 2, 3]
    assert {one.coverage for one in samples} == {30}


def test_a_campaign_ends_when_all_is_found(tmp_path: Path) -> None:
    """And what is known makes no difference to the exit status, and has not failed."""
    certificate, known = tmp_path / "certificate.json", tmp_path / "known.yaml"
    asked = {"vendors": ["svm"], "steps": "", "races": True, "bound": None}
    wanted = [{"signature": CLAIM, "length": 3}]
    certificate.write_text(
        json.dumps({**asked, "variant_options": ["original,yadong"], "signatures": wanted})
    )
    out = tmp_path / "campaign"
    ended = run(out, "--until-complete", str(certificate))
    assert ended.returncode == 1, ended.stderr
    found = kept(out).first
    assert CLAIM in found
    known.write_text(f"- signature: '{CLAIM}'\n")
    junit = tmp_path / "junit.xml"
    going_on = ["--resume", "--until-complete", str(certificate), "--known", str(known)]
    ended = run(out, *going_on, "--junit", str(junit))
    assert ended.returncode == (0 if kept(out).first.keys() == {CLAIM} else 1), ended.stderr
    suite = ElementTree.parse(junit).getroot()[0]
    assert {case.get("name"): case.find("failure") is None for case in suite} == {
        name: name == CLAIM for name in kept(out).first
    }
    known.write_text("".join(f"- signature: '{name}'\n" for name in kept(out).first))
    assert run(out, *going_on).returncode == 0


def test_enough_of_a_vendor_is_what_is_wanted_of_it() -> None:
    ends = Ends(wanted=frozenset({"svm: one", "svm: two", "vmx: one"}))
    assert not ends.enough("svm", ["svm: one"])
    assert ends.enough("svm", ["svm: one", "svm: two"])
    assert not ends.enough("vmx", ["svm: one", "svm: two"])
    assert not Ends().enough("svm", [])


def test_processes_go_over_to_the_vendor_of_which_more_is_wanted(tmp_path: Path) -> None:
    options = ("--variants", "original,yadong")
    settings = Settings(VENDORS, Ends(60), tmp_path, False, (), options, 1, False, 1 << 20)
    make_room(tmp_path, VENDORS, 1)
    crew = hire(settings, 1, workers=2)
    try:
        crew.enough("svm")
        assert [fuzzer.vendor for fuzzer in crew.fuzzers] == ["vmx", "vmx"]
        assert len({fuzzer.log for fuzzer in crew.fuzzers}) == 2
        assert (crew.alive(), crew.wrong()) == (2, "")
        crew.enough("vmx")  # nobody is left to go over to
        assert crew.alive() == 2
    finally:
        crew.stop()


def test_a_campaign_ends_when_nothing_is_new(tmp_path: Path) -> None:
    own = tmp_path / "same.py"
    own.write_text(
        "from variants.variant import Variant\nVARIANT = Variant('same', 'nothing changed')\n"
    )
    out = tmp_path / "campaign"
    chosen = ["--variants", "original", "--variant", str(own), "--vendor", "svm"]
    assert main(["fuzz", "--until-quiet", "2", "--time", "120", "--out", str(out), *chosen]) == 0
