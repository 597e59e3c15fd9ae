"""What a live campaign has reached: counted by processes, added up over sessions."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.campaign.folder import WORK, make_room
from fuzz.campaign.tally import Tally, added, reached_in
from fuzz.live_campaign.coverage import carry_over, total
from variants.live.cache import fingerprints
from variants.live.layout import Place
from variants.live.runner import Build

NAMES = ("original", "mine")
BLOCKS = [Place("kvm", ".text", 16 * number) for number in range(4)]
RUNS = st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, st.sets(st.sampled_from(BLOCKS)))))


def builds(key: str) -> dict[str, Build]:
    """Instrumented ones; `mine` is told by `key`."""
    kernel, agent = Path("kernel", "vmlinuz"), Path("agent", "agent")
    modules = {"original": Path("modules-of-original"), "mine": Path(f"modules-{key}")}
    return {name: Build(kernel, kernel, one, agent) for name, one in modules.items()}


def session(
    out: Path, number: int, of: dict[str, Build], runs: list[dict[str, set[Place]]]
) -> None:
    """As a campaign's session counts, which has one process."""
    carry_over(out, number, of)
    make_room(out, ["svm"], number, seeds=False)
    tally = Tally(out / WORK / f"{number}-svm-0.reached", "svm", fingerprints(of))
    for run in runs:
        tally.take(run)
    tally.note()


def times(counts: Any, name: str) -> Counter[str]:
    return Counter(counts["svm"]["kernels"][name]["blocks"])


@given(st.lists(RUNS, min_size=1, max_size=4))
def test_each_schedule_is_counted_once_whatever_session_it_ran_in(
    sessions: list[list[dict[str, set[Place]]]],
) -> None:
    with TemporaryDirectory() as folder:
        out, of = Path(folder), builds("a")
        for number, runs in enumerate(sessions, 1):
            session(out, number, of, runs)
        counts = total(out, len(sessions), of)
        # A session that ended before it had written that it is there.
        carry_over(out, len(sessions) + 1, of)
        assert total(out, len(sessions) + 1, of) == counts
    ran = [run for runs in sessions for run in runs]
    assert counts["svm"]["schedules"] == len(ran)
    for name in NAMES:
        assert times(counts, name) == Counter(str(place) for run in ran for place in run[name])


def test_what_another_build_reached_does_not_count() -> None:
    with TemporaryDirectory() as folder:
        out = Path(folder)
        session(out, 1, builds("a"), [{name: {BLOCKS[0]} for name in NAMES}])
        session(out, 2, builds("b"), [{name: {BLOCKS[1]} for name in NAMES}] * 3)
        counts = total(out, 2, builds("b"))
        assert times(counts, "mine") == {str(BLOCKS[1]): 3}
        assert counts["svm"]["schedules"] == 3
        assert total(out, 2, builds("c")) == {}


def test_counts_of_rounds_are_those_of_their_processes(tmp_path: Path) -> None:
    of = fingerprints(builds("a"))
    for number in range(2):
        tally = Tally(tmp_path / f"1-svm-{number}.reached", "svm", of)
        tally.take({name: [BLOCKS[number], BLOCKS[2]] for name in NAMES})
        tally.note()
    found = reached_in(tmp_path, 1)
    together = added(found)
    assert times(together, "mine") == dict(zip(map(str, BLOCKS[:3]), (1, 1, 2), strict=True))
    assert added([together]) == json.loads(json.dumps(together)) == together
