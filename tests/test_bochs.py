"""Which Bochs is used: the system's, or one of a release that has it new enough."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from variants.live import bochs
from variants.live.apt import Suite, root_of
from variants.live.artefacts import execute, locked
from variants.live.emulator import LiveError, Unavailable
from variants.live.host import HostAgent
from variants.live.runner import Build

needs_apt = pytest.mark.skipif(
    not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="no apt"
)
FILES = ("usr/bin/bochs-bin", "usr/share/vgabios/vgabios.bin", "usr/share/doc/bochs/README")


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program `bochs` that says it is 2.7, before the system's."""
    program = tmp_path / "bin" / "bochs"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    says(program, "2.7")
    yield program
    bochs.version.cache_clear()


def says(program: Path, version: str) -> None:
    program.write_text(f"#!/bin/sh\necho '   Bochs x86 Emulator {version}' >&2\n")
    program.chmod(0o755)
    bochs.version.cache_clear()


def package(pool: Path, name: str, version: str) -> str:
    """Make a package; its paragraph in the list of packages."""
    tree = pool / "tree"
    for part in FILES if name == "bochs" else ():
        (tree / part).parent.mkdir(parents=True, exist_ok=True)
        (tree / part).write_text(version)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
    control += "Maintainer: nobody <nobody@example.org>\nDescription: for a test\n"
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (tree / "DEBIAN" / "control").write_text(control)
    file = pool / f"{name}_{version}_amd64.deb"
    execute(["dpkg-deb", "--build", tree, file])
    shutil.rmtree(tree)
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return f"{control}Filename: ./{file.name}\nSize: {len(data)}\nSHA256: {digest}\n\n"


def suite(folder: Path, name: str, version: str) -> Suite:
    """A suite with that version of Bochs, or with none."""
    pool = folder / "pool" / name
    pool.mkdir(parents=True)
    names = bochs.PACKAGES if version else ("hello",)
    (pool / "Packages").write_text("".join(package(pool, one, version or "1") for one in names))
    made = root_of(folder / "apt", name, f"file:{pool}")
    (made.root / "sources.list").write_text(f"deb [trusted=yes] file:{pool} ./\n")
    made.run("apt-get", "update")
    return made


def chosen(folder: Path, offers: Mapping[str, str]) -> Path | None:
    """What `newer_bochs` gives if the suites offer these versions."""
    with locked(folder / "cache") as store:
        return bochs.newer_bochs(store, lambda: [suite(folder, *one) for one in offers.items()])


@needs_apt
def test_the_oldest_release_that_has_it_new_enough(tmp_path: Path) -> None:
    offers = {
        "sid": "3.1+dfsg-1",
        "bookworm": "2.7+dfsg-4",
        "bookworm-backports": "2.8-1~bpo12",
        "bullseye": "",
        "trixie": "3.0+dfsg-1",
    }
    found = chosen(tmp_path, offers)
    assert found
    assert (found / FILES[0]).read_text() == "3.0+dfsg-1"
    there = {str(file.relative_to(found)) for file in found.rglob("*") if file.is_file()}
    assert there == set(FILES[:2])
    assert chosen(tmp_path, {"the mirror is asked again": ""}) == found


@needs_apt
@pytest.mark.parametrize("version", ["2.7+dfsg-4", ""])
def test_the_systems_if_there_is_no_newer_one(version: str, tmp_path: Path) -> None:
    assert chosen(tmp_path, {"bookworm": version}) is None


def test_the_systems_if_the_mirror_cannot_be_reached(tmp_path: Path) -> None:
    def unreachable() -> list[Suite]:
        raise Unavailable("no mirror")

    def wrong() -> list[Suite]:
        raise LiveError("a wrong signature")

    with locked(tmp_path) as store:
        assert bochs.newer_bochs(store, unreachable) is None
        with pytest.raises(LiveError, match="a wrong signature"):
            bochs.newer_bochs(store, wrong)


@pytest.mark.parametrize("version", ["2.8", "2.10", "3.0", "3.1.devel"])
def test_the_systems_if_it_is_new_enough(version: str, tmp_path: Path, system: Path) -> None:
    says(system, version)
    with locked(tmp_path) as store:
        assert bochs.newer_bochs(store, lambda: pytest.fail("the mirror was asked")) is None


def test_builds_say_which_bochs_runs_them(tmp_path: Path, system: Path) -> None:
    build, host = Build(*[tmp_path] * 4), HostAgent(tmp_path)
    assert bochs.bochs_of([build, host]) == (2, 7)
    assert bochs.bochs_of([host]) is None
    says(system, "3.0")
    assert bochs.bochs_of([build]) == (3, 0)
