"""Which kernels lie between two, by what is set up and what the mirrors offer."""

import json
from pathlib import Path

import pytest

from tests.test_offers import OFFERS, offer
from variants.live.between import images_between, series_between, set_up_between
from variants.live.emulator import LiveError
from variants.live.entries import SETUP, Entry, Setup, setup_text
from variants.live.offers import numbers

VERSIONS = {
    "original": "5.10.262-1",
    "linux-6.1": "6.1.192-2",
    "linux-6.12": "6.12.118-1",
    "linux-6.18": "6.18.15-1~bpo13+1",
    "tree": "6.13.0-rc3",
}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """What is set up: the kernels above, each a folder, and a patch on one."""
    entries = {}
    for name, version in VERSIONS.items():
        folder = tmp_path / "store" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps({"version": version}))
        entries[name] = Entry(f"store/{name}", f"store/{name}/stock", tree=name * (name == "tree"))
    entries["mine"] = Entry("store/linux-6.1", "store/mine", on="linux-6.1", patch="/mine.patch")
    (tmp_path / SETUP).write_text(setup_text(Setup("agent", "key", "", entries)))
    return tmp_path


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("original", "linux-6.18", ["linux-6.1", "linux-6.12"]),
        ("linux-6.18", "linux-5.10", ["linux-6.12", "linux-6.1"]),
        ("mine", "linux-6.18", ["linux-6.12"]),
        ("tree", "original", ["linux-6.12", "linux-6.1"]),
        ("mine", "linux-6.1", []),
    ],
)
def test_kernels_that_are_set_up_in_order(
    one: str, other: str, found: list[str], cache: Path
) -> None:
    builds = set_up_between(cache, one, other)
    assert list(builds) == found
    for name, build in builds.items():
        assert build.vmlinuz == cache / "store" / name / "vmlinuz"


def test_of_what_is_not_set_up_nothing_is_known(cache: Path) -> None:
    with pytest.raises(LiveError, match=r"no live variant 'linux-7\.3'"):
        set_up_between(cache, "original", "linux-7.3")


def test_the_newest_image_of_each_series_between_and_no_source() -> None:
    offers = [*OFFERS, offer("6.1.192-2", source=True), offer("5.10.262-1", source=True)]
    found = images_between(offers, numbers("5.10.262"), numbers("6.18.15"), [])
    assert [one.version for one in found] == ["6.12.118-1", "6.1.192-2"]
    assert [one.build for one in found] == [(), ()]
    there = [numbers("6.12.9")]
    (left,) = images_between(offers, numbers("5.10.262"), numbers("6.18.15"), there)
    assert left.series == "6.1"
    assert images_between(offers, numbers("6.12.9"), numbers("6.12.118"), []) == []


@pytest.mark.parametrize(
    ("first", "last", "possible"),
    [("6.1.9", "6.2.1", False), ("6.1.9", "6.3.1", True), ("6.12.1", "6.12.9", False)],
)
def test_the_mirrors_are_asked_if_there_can_be_a_series_between(
    first: str, last: str, possible: bool
) -> None:
    assert series_between(numbers(first), numbers(last)) == possible
    between = [offer(f"6.{minor}.5-1", source=False) for minor in (1, 2, 3, 12)]
    assert bool(images_between(between, numbers(first), numbers(last), [])) == possible
