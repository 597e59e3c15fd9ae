"""Live campaigns, with models in place of kernels: they agree in every step."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.campaign.campaign import Ends, Settings
from fuzz.campaign.cluster import Corpus
from fuzz.campaign.folder import holds_campaign
from fuzz.campaign.mutator import Mutator
from fuzz.campaign.rounds import news_in
from fuzz.cli.main import main
from fuzz.live_campaign.ahead import Ahead
from fuzz.live_campaign.collector import TROUBLES, Collector
from fuzz.live_campaign.counters import LOOKS, Counters
from fuzz.live_campaign.kernels import live_schedule
from fuzz.live_campaign.known import Known
from fuzz.live_campaign.report import ruling_of
from fuzz.live_campaign.target import News
from fuzz.live_campaign.variations import varied
from fuzz.review.findings import Found, Way
from fuzz.review.journal import NAME, Journal
from fuzz.review.marks import marks
from fuzz.review.triggers import trigger_of
from fuzz.schedule.codes import fuzz_input, schedule_of_input
from fuzz.schedule.file import read_schedule
from fuzz.schedule.schedule import Schedule, races
from tests.strategies import schedules
from tests.test_review import Kernels
from variants.live.layout import Place
from variants.machine.step import SHORTHANDS, Step

NAMES = ("original", "yadong", "paolo")
SENT, HALTS = Step("icr", 0, 1, "sipi", 0x12), Step("hlt", 1)
IN_L1 = Schedule("svm", 2, (Step("nop", 1), SENT, Step("nop", 0), HALTS))
IN_L2 = Schedule("svm", 2, (Step("nop", 1), Step("vmrun", 1, controls=("init",)), SENT, HALTS))
PAOLO = "svm: liveness: original+yadong | paolo: step: outcome: waits | goes on"
YADONG = "svm: liveness: original+paolo | yadong: step: outcome: waits | goes on"


@pytest.fixture
def kernels() -> Kernels:
    return Kernels("svm", ",".join(NAMES))


@given(st.integers(1, 5), st.lists(st.integers(0, 3), min_size=1))
def test_what_is_given_was_run_in_a_batch_and_nothing_asked_for_is_lost(
    batch: int, asked: list[int]
) -> None:
    batches: list[list[bytes]] = []

    def run(some: Sequence[bytes]) -> list[bytes]:
        batches.append(list(some))
        return [b"shown " + one for one in some]

    ahead = Ahead(run, batch)
    made: list[bytes] = []

    def mutate(kind: int) -> bytes:
        made.append(bytes([kind, len(made) % 256]))
        return made[-1]

    given = []
    for kind in asked:
        given.append(ahead.instead(lambda kind=kind: mutate(kind)))  # type: ignore[misc]
        assert any(given[-1] in some for some in batches)
        assert ahead.shown(given[-1]) == b"shown " + given[-1]
    # In the order in which they were made, a batch at most still to come.
    assert given == made[: len(given)]
    assert len(made) - len(given) <= batch
    assert {len(some) for some in batches} == {batch}


def test_what_was_not_run_ahead_is_run_when_it_is_asked_for() -> None:
    runs: Counter[bytes] = Counter()

    def run(some: Sequence[bytes]) -> list[bytes]:
        runs.update(some)
        return list(some)

    ahead = Ahead(run, 2)
    ahead.take([b"a", b"b", b"b", b"c"])
    assert [ahead.shown(one) for one in (b"a", b"b", b"c", b"d")] == [b"a", b"b", b"c", b"d"]
    assert runs == Counter([b"a", b"b", b"c", b"d"])


@given(st.integers(0, 2**32), st.booleans())
def test_live_inputs_have_no_races(seed: int, mix: bool) -> None:
    mutator = Mutator("svm", mix=mix, races=False)
    data = b""
    for _ in range(20):
        data = mutator(data, 0, seed)
        assert not races(schedule_of_input(data))


@given(schedules())
def test_a_message_that_would_land_in_a_step_comes_before_it(schedule: Schedule) -> None:
    live = live_schedule(fuzz_input(schedule))
    assert not races(live)
    assert live.steps == tuple(step._replace(at="") for step in schedule.steps)


def test_a_counter_a_block_and_variant() -> None:
    places = [Place("kvm", ".text", offset) for offset in range(3)]
    counters = Counters({"a": places, "b": places[:2]})
    assert counters.count == LOOKS + 5
    reached = {"a": places, "b": [*places, Place("kvm", ".text", 99)]}
    hit = list(counters.of_blocks(reached))
    assert sorted(hit) == list(range(LOOKS, LOOKS + 5))


def test_a_counter_a_look(kernels: Kernels) -> None:
    counters = Counters({})
    longer = IN_L1._replace(steps=(*IN_L1.steps, Step("nop", 1)))
    looks = [
        {mark for _, mark in marks(one, traces)}
        for one in (IN_L1, longer, IN_L2)
        for traces in kernels.run([one], False)
    ]
    first, again, other = [set(counters.of_looks(some)) for some in looks]
    assert first == again
    assert first.isdisjoint(other)
    assert first | other <= set(range(LOOKS))


@given(schedules(races=False), st.integers(0, 2**32))
def test_messages_are_varied_and_nothing_else(schedule: Schedule, seed: int) -> None:
    steps = schedule_of_input(varied(fuzz_input(schedule), Random(seed))).steps
    others = [[step for step in some if step.op != "icr"] for some in (schedule.steps, steps)]
    assert others[1] == others[0][: len(others[1])]
    modes = {step.mode for step in schedule.steps if step.op == "icr"}
    assert {step.mode for step in steps if step.op == "icr"} <= modes


@given(st.binary(max_size=12), st.integers(0, 2**32))
def test_whatever_libfuzzer_gives_is_varied(data: bytes, seed: int) -> None:
    """Also nothing at all, as crossing its first two inputs makes."""
    assert len(varied(data, Random(seed))) >= len(data) - len(data) % 2


def test_messages_come_to_have_other_vectors_receivers_and_senders_and_come_twice() -> None:
    data = fuzz_input(IN_L1)
    seen = [schedule_of_input(varied(data, Random(seed))).steps for seed in range(1000)]
    sent = [[step for step in steps if step.op == "icr"] for steps in seen]
    assert len({step.vector for some in sent for step in some}) > 2
    assert {step.to for some in sent for step in some} == {0, 1, *SHORTHANDS.values()}
    assert {step.on for some in sent for step in some} == {0, 1}
    assert [SENT, SENT] in sent


Shown = list[tuple[bytes, set[int]]]
SHOWN = st.lists(st.tuples(st.binary(min_size=1), st.sets(st.integers(0, 20), max_size=5)))


@given(st.lists(SHOWN))
def test_of_rounds_those_inputs_are_kept_that_hit_something_first(rounds: list[Shown]) -> None:
    """Together they hit all that was hit."""
    with TemporaryDirectory() as name:
        folder = Path(name, "corpus")
        folder.mkdir()
        corpus, ever = Corpus(folder, None), set[int]()
        for number, shown in enumerate(rounds):
            news = News(Path(name, f"news-{number}"))
            for data, numbers in shown:
                news.take(data, numbers)
                ever |= numbers
            corpus.take(news_in(news.path))
            assert corpus.hit == ever
        every = {data for shown in rounds for data, _ in shown}
        assert set(corpus.inputs()) <= every
        assert len(corpus.inputs()) <= len(ever)


def collector(
    out: Path, kernels: Kernels, going_on: bool = True, build: str = "one"
) -> tuple[Collector, list[str]]:
    """A collector of a campaign in `out`, and what it has announced."""
    announced: list[str] = []
    settings = Settings(("svm",), Ends(), out, True, (), (), 0, False, 1 << 20)
    if build != "one":
        (out / NAME).unlink()
    journal = Journal(out, {"original": build}, kernels.run)
    made = Collector(
        NAMES,
        settings,
        journal,
        {"compared": build},
        lambda: (5, 1.0),
        lambda signature, _: announced.append(signature),
        lambda: going_on,
    )
    return made, announced


def written(work: Path, *some: Schedule, trouble: str = "") -> None:
    work.mkdir(exist_ok=True)
    for number, one in enumerate(some):
        told = {"trouble": trouble} if trouble else {"signature": "?"}
        text = json.dumps({**told, "input": fuzz_input(one).hex()})
        (work / f"{len(list(work.iterdir()))}-{number}.json").write_text(text)


def test_both_claims_are_minimised_and_written(tmp_path: Path, kernels: Kernels) -> None:
    work = tmp_path / "work"
    written(work, IN_L1, IN_L2)
    made, announced = collector(tmp_path, kernels)
    assert made.collect(work)
    assert not list(work.iterdir())
    assert sorted(announced) == [YADONG, PAOLO] == sorted(made.found())
    told = json.loads((tmp_path / "campaign.json").read_text())
    assert [one["length"] for one in told["signatures"]] == [3, 2]
    assert [one["repeats"] for one in told["signatures"]] == [[3, 3]] * 2
    assert all(one["minimal"] for one in told["signatures"])
    assert {one["ruling"] for one in told["findings"]} == {"regression"}
    for slug in ("original-and-paolo-vs-yadong", "original-and-yadong-vs-paolo"):
        (folder,) = tmp_path.glob(f"svm-liveness-{slug}-*")
        assert {one.name for one in folder.iterdir()} == {
            *("reproducer.yaml", "trace.txt", "reproducer.c", "expected.json"),
            "test_reproducer.py",
        }
        schedule = read_schedule(str(folder / "reproducer.yaml"))
        assert schedule.steps[-1] == HALTS
    assert "2 differences" in (tmp_path / "summary.md").read_text()


def test_a_session_goes_on_with_what_the_last_one_found(tmp_path: Path, kernels: Kernels) -> None:
    written(tmp_path / "work", IN_L1, IN_L2)
    before, _ = collector(tmp_path, kernels)
    before.collect(tmp_path / "work")
    told = json.loads((tmp_path / "campaign.json").read_text())
    runs = kernels.runs
    traces = list(tmp_path.glob("*/trace.txt"))
    for trace in traces:
        trace.unlink()
    after, announced = collector(tmp_path, kernels)
    after.restore(told)
    after.report()
    assert not announced
    assert not any(trace.exists() for trace in traces)
    assert after.found() == before.found()
    assert after.first == before.first
    assert kernels.runs == runs, "what the journal has is not run again"


def test_what_other_kernels_do_not_show_is_gone(tmp_path: Path, kernels: Kernels) -> None:
    written(tmp_path / "work", IN_L1, IN_L2)
    made, _ = collector(tmp_path, kernels)
    made.collect(tmp_path / "work")
    told = json.loads((tmp_path / "campaign.json").read_text())
    mended = Kernels("svm", ",".join(NAMES))
    mended.machines["yadong"] = mended.machines["original"]
    after, _ = collector(tmp_path, mended, build="two")
    after.restore(told)
    after.report()
    after.write_summary()
    assert after.found() == {PAOLO}
    told = json.loads((tmp_path / "campaign.json").read_text())
    assert [one["signature"] for one in told["gone"]] == [YADONG]
    back, _ = collector(tmp_path, kernels, build="three")
    for trace in tmp_path.glob("*/trace.txt"):
        trace.unlink()
    back.restore(told)
    back.report()
    assert back.found() == {PAOLO, YADONG}
    assert not back.gone
    assert len(list(tmp_path.glob("*/trace.txt"))) == 2


def test_what_there_was_no_time_for_is_kept(tmp_path: Path, kernels: Kernels) -> None:
    work = tmp_path / "work"
    written(work, IN_L1)
    made, announced = collector(tmp_path, kernels, going_on=False)
    assert not made.collect(work)
    assert len(list(work.iterdir())) == made.outcome().left == 1
    made, announced = collector(tmp_path, kernels)
    assert made.collect(work)
    assert announced == [PAOLO]


def test_inputs_go_around_what_is_known(tmp_path: Path, kernels: Kernels) -> None:
    """Mostly: what is left parts no more, and nothing is left out of what does not part."""
    data, calm = fuzz_input(IN_L1), fuzz_input(IN_L1._replace(steps=IN_L1.steps[:-1]))
    known = Known(tmp_path / "campaign.json", "svm")
    known.look()
    assert {known.around(data, Random(seed)) for seed in range(50)} == {data}
    written(tmp_path / "work", IN_L1)
    made, _ = collector(tmp_path, kernels)
    made.collect(tmp_path / "work")
    known.look()
    others = {known.around(data, Random(seed)) for seed in range(50)} - {data}
    assert others
    for traces in kernels.run([schedule_of_input(one) for one in others], False):
        assert not marks(IN_L1, traces)
    assert {known.around(calm, Random(seed)) for seed in range(50)} == {calm}


def test_what_parted_once_only_is_counted(tmp_path: Path, kernels: Kernels) -> None:
    work = tmp_path / "work"
    written(work, IN_L1._replace(steps=(Step("nop", 1),)))
    made, announced = collector(tmp_path, kernels)
    assert made.collect(work)
    assert not announced
    assert made.outcome().unsteady == 1


def test_what_no_kernel_gets_through_is_kept(tmp_path: Path, kernels: Kernels) -> None:
    work = tmp_path / "work"
    written(work, IN_L1, trouble="original broke off at step 1: QEMU ended")
    made, announced = collector(tmp_path, kernels)
    assert made.collect(work)
    assert not announced
    (line,) = (tmp_path / TROUBLES).read_text().splitlines()
    assert json.loads(line)["says"].startswith("original broke off")
    assert made.outcome().troubles == 1
    assert kernels.runs == 0


@pytest.mark.parametrize(
    ("base", "schedule", "ruling"),
    [
        ("original", IN_L1, "regression"),
        ("paolo", IN_L1, "fix"),
        ("original", IN_L2, "regression"),
        ("other", IN_L1, "regression"),
    ],
)
def test_who_is_right(kernels: Kernels, base: str, schedule: Schedule, ruling: str) -> None:
    (traces,) = kernels.run([schedule], False)
    ((step, mark),) = marks(schedule, traces)
    trigger = trigger_of(schedule, traces[NAMES[0]], step)
    assert ruling_of(base, Found(mark, "nop", [Way(schedule, trigger, traces)])) == ruling


def test_the_page_of_models_is_none_for_kernels(
    tmp_path: Path, kernels: Kernels, capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = collector(tmp_path, kernels)
    made.write_summary()
    assert main(["show", str(tmp_path)]) == 2
    assert "summary.md" in capsys.readouterr().err
    assert main(["status", str(tmp_path)]) == 0
    out = str(tmp_path)
    assert main(["fuzz", "--resume", "--live", "--variants", "a,b", "--out", out]) == 2
    assert "--variants is not what" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--variants", "original"], "two variants"),
        (["--variant", "mine.py"], "--variant is for models"),
        (["--until-complete", "x.json"], "--until-complete is for models"),
        (["--confirm"], "--confirm is for models"),
    ],
)
def test_what_live_does_not_do(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["fuzz", "--live", "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not holds_campaign(out)
