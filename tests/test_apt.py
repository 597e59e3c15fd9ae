"""Which failures of apt mean that a mirror is not to be had, and which are trouble."""

import shutil
from pathlib import Path

import pytest

from variants.live.apt import KEYRING, POCKETS, RELEASES, suites
from variants.live.emulator import LiveError, Unavailable

pytestmark = pytest.mark.skipif(
    not (shutil.which("apt-get") and KEYRING.exists()), reason="no apt or no Debian keyring"
)


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:9/debian", "file:{here}/none"])
def test_a_mirror_that_is_not_there(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        suites(tmp_path, mirror.format(here=tmp_path))


def test_a_mirror_that_is_not_signed(tmp_path: Path) -> None:
    for release in RELEASES:
        for name in (release + pocket for pocket in POCKETS):
            folder = tmp_path / "debian" / "dists" / name
            folder.mkdir(parents=True)
            (folder / "Release").write_text(f"Suite: {name}\nCodename: {release}\n")
    (tmp_path / "debian-security").symlink_to("debian")
    with pytest.raises(LiveError, match="not signed") as error:
        suites(tmp_path / "apt", f"file:{tmp_path}/debian")
    assert not isinstance(error.value, Unavailable)
