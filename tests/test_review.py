"""A review of variants whose models stand for their kernels: they agree in every step."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.compare.compared import compared
from fuzz.compare.traces import Trace, Traces, trace_of
from fuzz.live.cover import Covering
from fuzz.live.novelty import walks
from fuzz.memory.tables import Tables
from fuzz.report.replay import automaton_of, replay
from fuzz.report.reproducer import reproducer
from fuzz.review.hunt import Hunt
from fuzz.review.journal import NAME, Journal, OtherBuilds
from fuzz.review.marks import Mark, marks
from fuzz.review.report import Facts, mail_paragraph, review_json, title, write_report
from fuzz.review.review import Review, Reviewed
from fuzz.review.shrinking import up_to
from fuzz.review.triggers import around, taken_at, trigger_of
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import Schedule, races
from tests.strategies import schedules
from variants.catalogue import choose
from variants.live.observe import BROKE_OFF
from variants.machine.step import Step, Vendor

WALKS = 60


class Kernels:
    """Variants' models, run as their kernels are. runs: how many schedules were."""

    def __init__(self, vendor: Vendor, names: str) -> None:
        variants = choose(names, [])
        machines = Tables(compared(vendor, variants)).compared.machines
        self.machines = dict(zip([one.name for one in variants], machines, strict=True))
        self.runs = 0

    def run(self, some: Sequence[Schedule], fresh: bool) -> list[Traces]:
        self.runs += len(some)
        return [{name: self.trace(name, one) for name in self.machines} for one in some]

    def trace(self, name: str, schedule: Schedule) -> Trace:
        return trace_of(self.machines[name], schedule)


def hunted(vendor: Vendor, kernels: Kernels, out: Path, count: int = WALKS) -> Hunt:
    journal = Journal(out, {"a": "build"}, kernels.run)
    hunt = Hunt(vendor, journal, lambda: True, lambda: True)
    proposed = list(walks(compared(vendor, choose("original", [], least=1)), count, 1))
    assert list(hunt.cover(proposed))[-1] == count
    hunt.finish()
    return hunt


@pytest.fixture(scope="module")
def paolo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Hunt, Kernels, Path]:
    kernels = Kernels("svm", "original,paolo")
    out = tmp_path_factory.mktemp("paolo")
    return hunted("svm", kernels, out), kernels, out


def test_the_claim_is_found_and_nothing_is_left_unexplained(
    paolo: tuple[Hunt, Kernels, Path],
) -> None:
    hunt, _, _ = paolo
    shown = {tuple(way.schedule.steps) for found in hunt.found for way in found.ways}
    assert (Step("icr", 0, 1, "sipi"), Step("hlt", 1)) in shown
    assert not hunt.unexplained
    assert hunt.parted <= sum(found.explains for found in hunt.found)


def test_what_is_found_is_1_minimal_and_shows_each_time(paolo: tuple[Hunt, Kernels, Path]) -> None:
    hunt, kernels, _ = paolo
    for found in hunt.found:
        for way in found.told:
            assert way.minimal
            assert way.repeats == (3, 3)
            steps = way.schedule.steps
            for left_out in range(len(steps)):
                less = way.schedule._replace(steps=steps[:left_out] + steps[left_out + 1 :])
                (traces,) = kernels.run([less], False)
                assert up_to(less, traces, found.mark) is None


def test_differences_are_told_apart_by_looks_and_step(paolo: tuple[Hunt, Kernels, Path]) -> None:
    hunt, _, _ = paolo
    keys = [(found.mark, found.op) for found in hunt.found]
    assert len(keys) == len(set(keys))


def test_the_same_review_again_runs_nothing(paolo: tuple[Hunt, Kernels, Path]) -> None:
    before, kernels, out = paolo
    runs = kernels.runs
    again = hunted("svm", kernels, out)
    assert kernels.runs == runs
    assert [(found.mark, found.ways) for found in again.found] == [
        (found.mark, found.ways) for found in before.found
    ]


def test_a_journal_that_was_cut_off_in_a_line_goes_on(
    paolo: tuple[Hunt, Kernels, Path], tmp_path: Path
) -> None:
    before, kernels, out = paolo
    data = (out / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(data[: len(data) // 2])
    runs = kernels.runs
    again = hunted("svm", kernels, tmp_path)
    assert 0 < kernels.runs - runs < runs
    assert {found.mark for found in again.found} == {found.mark for found in before.found}


def test_a_journal_of_other_builds_is_refused(paolo: tuple[Hunt, Kernels, Path]) -> None:
    _, kernels, out = paolo
    with pytest.raises(OtherBuilds):
        Journal(out, {"a": "another build"}, kernels.run)


def test_what_was_found_before_ctrl_c_is_told(tmp_path: Path) -> None:
    """It has not been seen in fresh VMs then, which is no reason to be silent."""
    kernels = Kernels("svm", "original,paolo")
    hunt = Hunt("svm", Journal(tmp_path, {}, kernels.run), lambda: True, lambda: True)
    next(hunt.cover([sipi_then_hlt()]))
    review = Review(("original", "paolo"), {"svm": Reviewed(hunt, Covering((), (), 0, 0, 0))})
    facts = Facts({"original": "5.10", "paolo": "5.10"}, {"svm": "models"}, {})
    write_report(tmp_path, review, facts)
    (finding,) = review_json(review)["findings"]
    assert finding["repeats"] == [0, 0]
    trace = next(tmp_path.glob("*/trace.txt")).read_text()
    assert "not run again yet" in trace
    assert finding["breaks"] == {"paolo": "sipi-kept"}
    assert "breaks sipi-kept: paolo" in trace


def test_a_review_that_ran_nothing_claims_nothing(tmp_path: Path) -> None:
    review = Review(("original", "paolo"), interrupted=True)
    write_report(tmp_path, review, Facts({"original": "5.10", "paolo": "5.10"}, {}, {}))
    for name in ("summary.md", "tested.txt"):
        said = (tmp_path / name).read_text()
        assert "interrupted before it ran anything" in " ".join(said.split())
        assert "No difference" not in said


def sipi_then_hlt() -> Schedule:
    return Schedule("svm", 2, (Step("nop", 1), Step("icr", 0, 1, "sipi"), Step("hlt", 1)))


def test_variants_that_are_the_same_show_nothing(tmp_path: Path) -> None:
    kernels = Kernels("vmx", "original,yadong")
    kernels.machines["yadong"] = kernels.machines["original"]
    hunt = hunted("vmx", kernels, tmp_path)
    assert not hunt.found
    assert not hunt.parted


@given(schedules(), st.integers())
def test_going_around_only_leaves_steps_out(schedule: Schedule, seed: int) -> None:
    """And what it leaves out is enough: the trigger is nowhere taken any more."""
    if races(schedule) or not schedule.steps:
        return
    kernels = Kernels(schedule.vendor, "original,yadong")
    trace = kernels.trace("original", schedule)
    last = len(schedule.steps) - 1
    trigger = trigger_of(schedule, trace, last)
    assert taken_at(trigger, schedule, trace, last)
    less = around(schedule, trace, [trigger], Random(seed))
    steps = iter(schedule.steps)
    assert len(less.steps) < len(schedule.steps)
    assert all(one in steps for one in less.steps)


def test_a_kernel_that_ends_is_a_difference_of_its_own() -> None:
    schedule = Schedule("svm", 2, (Step("nop", 1), Step("hlt", 1)))
    kernels = Kernels("svm", "original,yadong")
    whole = kernels.trace("original", schedule)
    why = BROKE_OFF + "QEMU ended: Kernel panic - not syncing"
    ended = (whole[0], whole[1]._replace(outcome="error", warn=why))
    ((at, mark),) = marks(schedule, {"base": whole, "mine": ended})
    assert at == 1
    assert mark == Mark(
        (("base",), ("mine",)), "ends", ("goes on", "QEMU ended: Kernel panic - not syncing")
    )


def test_reports_can_be_read_again(paolo: tuple[Hunt, Kernels, Path], tmp_path: Path) -> None:
    hunt, _, _ = paolo
    review = Review(("original", "paolo"), {"svm": Reviewed(hunt, Covering((), (), 0, 0, 0))})
    facts = Facts(
        {"original": "5.10", "paolo": "5.10"}, {"svm": "models"}, {"vmx": "not asked for"}
    )
    write_report(tmp_path, review, facts)
    told = review_json(review)
    assert told["base"] == "original"
    for _, found in review.found:
        (entry,) = [one for one in told["findings"] if one["title"] == title(found)]
        assert entry["repeats"] == [3, 3]
        assert entry["length"] == len(found.shortest.schedule.steps)
    folders = [file.parent for file in tmp_path.glob("*/reproducer.yaml")]
    assert len(folders) == len(review.found)
    for folder in folders:
        schedule = read_schedule(str(folder / "reproducer.yaml"))
        result = replay(automaton_of("svm", choose("original,paolo", [])), schedule)
        assert result.divergences[0][0] == len(schedule.steps) - 1
        assert (folder / "trace.txt").read_text().startswith(schedule.name[:40])
        whole = "the kernel `original`, run live,", tuple(result.traces["original"])
        assert (folder / "reproducer.c").read_text() == reproducer(schedule, *whole)
    assert "Not tested: VMX (not asked for), silicon" in " ".join(
        mail_paragraph(review, facts).split()
    )


def test_what_both_have_taken_is_no_part_of_the_difference() -> None:
    schedule = Schedule("vmx", 2, (Step("nmi", 1), Step("rdmsr", 1)))
    kernels = Kernels("vmx", "original,yadong")
    traces = {name: kernels.trace(name, schedule) for name in kernels.machines}
    assert traces["original"][1].taken == ("nmi", "rdmsr:0x0")
    ((_, mark),) = marks(schedule, traces)
    assert mark.values == ("rdmsr:0x0", "rdmsr:0x100")


def test_which_vectors_differ_is_no_part_of_the_difference() -> None:
    base = compared("svm", choose("original", [], least=1))
    machine = Tables(base).compared.machines[0]
    init = Step("icr", 0, 1, "init")
    looks = set()
    for sent in ((0x12, 0x34), (0x34, 0x9A)):
        vectors = dict(zip("ab", sent, strict=True))
        schedules = {
            name: Schedule(
                "svm", 2, (init, Step("nop", 1), Step("icr", 0, 1, "sipi", vector), Step("nop", 1))
            )
            for name, vector in vectors.items()
        }
        traces = {name: trace_of(machine, one) for name, one in schedules.items()}
        looks.update(marks(schedules["a"], traces))
    assert looks == {(3, Mark((("a",), ("b",)), "vector", ("one", "another")))}
