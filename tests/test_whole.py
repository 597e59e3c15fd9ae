"""Which trees are built whole, and that the kernel takes what it is asked for."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variants.live.artefacts import locked
from variants.live.emulator import LiveError
from variants.live.whole import (
    FRAGMENT,
    OPTIONAL,
    at_work,
    check_tree,
    lost,
    options,
    version_of,
)

TEXT = FRAGMENT.read_text()
NEEDED = options(TEXT.partition(OPTIONAL)[0])
IF_THERE = options(TEXT.partition(OPTIONAL)[2])


def tree_of(folder: Path, version: int, level: int) -> Path:
    kvm = folder / "arch/x86/kvm"
    kvm.mkdir(parents=True)
    (kvm / "x86.c").touch()
    (folder / "Makefile").write_text(f"VERSION = {version}\nPATCHLEVEL = {level}\nSUBLEVEL = 3\n")
    return folder


def configuration(values: dict[str, str]) -> str:
    return "".join(
        f"# {name} is not set\n" if value == "n" else f"{name}={value}\n"
        for name, value in values.items()
    )


def refusal(tree: Path) -> str:
    with pytest.raises(LiveError) as raised:
        check_tree(tree)
    return str(raised.value).replace(str(tree), "TREE")


@pytest.mark.parametrize("version", [(5, 10), (6, 1), (7, 3)])
def test_trees_from_5_10_on_are_built(tmp_path: Path, version: tuple[int, int]) -> None:
    tree = tree_of(tmp_path, *version)
    check_tree(tree)
    assert version_of(tree) == version


@pytest.mark.parametrize("version", [(5, 9), (4, 19)])
def test_an_older_tree_is_refused(tmp_path: Path, version: tuple[int, int]) -> None:
    said = refusal(tree_of(tmp_path, *version))
    assert said == f"TREE is Linux {version[0]}.{version[1]}: live runs need 5.10 or later"


def test_what_is_no_linux_tree_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "TREE: no Linux tree: No such file or directory: Makefile"
    (tmp_path / "Makefile").write_text("all:\n")
    assert refusal(tmp_path) == "TREE: no Linux tree with arch/x86/kvm"


@pytest.mark.parametrize("left", [".config", "include/config", "arch/x86/include/generated"])
def test_a_tree_built_in_place_says_what_to_do(tmp_path: Path, left: str) -> None:
    tree = tree_of(tmp_path, 6, 12)
    (tree / left).mkdir(parents=True)
    assert "`make mrproper`" in refusal(tree)


@given(st.permutations([*NEEDED.items(), *IF_THERE.items(), ("CONFIG_ELSE", "y")]))
def test_a_configuration_with_all_that_is_asked_for_passes(
    values: list[tuple[str, str]],
) -> None:
    assert lost(TEXT, configuration(dict(values))) == []


@given(st.sets(st.sampled_from([*NEEDED, *IF_THERE])), st.booleans())
def test_what_a_kernel_does_not_take_is_named(missing: set[str], said: bool) -> None:
    """`said`: the kernel knows the option and it is not as asked; else it is not there at all."""
    values = NEEDED | IF_THERE
    asked = {name for name in missing if values[name] != "n"}
    there = {name: value for name, value in values.items() if name not in missing}
    off = dict.fromkeys(asked, "n") if said else {}
    expected = asked if said else asked - IF_THERE.keys()
    assert set(lost(TEXT, configuration(there | off))) == expected


def test_what_must_be_off_is_named_if_it_is_on() -> None:
    off = [name for name, value in NEEDED.items() if value == "n"]
    assert "CONFIG_EXPERT" in off
    assert lost(TEXT, configuration(NEEDED | dict.fromkeys(off, "y"))) == off


def test_every_line_of_the_fragment_is_an_option_or_a_comment() -> None:
    for line in filter(None, TEXT.splitlines()):
        assert re.fullmatch(r"# .*|CONFIG_\w+=\S+", line), line
    assert len(NEEDED) + len(IF_THERE) == TEXT.count("CONFIG_")


def test_what_a_killed_build_left_is_not_gone_on_with(tmp_path: Path) -> None:
    half_written = tmp_path / "trees/mine/x86.o"
    with locked(tmp_path) as store:
        half_written.parent.mkdir(parents=True)
        half_written.touch()
        (tmp_path / "trees/mine.at-work").touch()
        with at_work(store, half_written.parent):
            assert not half_written.exists()
            half_written.touch()
        with at_work(store, half_written.parent):
            assert half_written.exists()
    with locked(tmp_path):
        assert not list(tmp_path.glob("making-*"))
