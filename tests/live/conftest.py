"""What live tests share: the cache, and copies of it to spoil.

They run where EVENTDIFF_LIVE is 1 (`make test-live`), and skip where the tools or Debian's
packages are not to be had. If setup fails for another reason, nothing is run and pytest fails.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fuzz.cli.kernels import trial
from tests.live.running import KERNELS, SET_UP, link_or_copy
from variants.live.cache import cache_folder
from variants.live.emulator import LiveError, Unavailable
from variants.live.entries import SETUP, read_setup, setup_text
from variants.live.request import Request
from variants.live.setup import set_up


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest) -> Path:
    """The cache, set up; how setup goes on is shown."""
    if os.environ.get("EVENTDIFF_LIVE") != "1":
        pytest.skip("live tests run with `make test-live`")
    capturing = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capturing.global_and_fixture_disabled():
            wanted = Request(kernels=KERNELS, instrument=("original", "paolo"))
            for line in set_up(None, wanted, trial):
                print(f"live setup: {line}", flush=True)
    except Unavailable as error:
        pytest.skip(f"no live runs here: {error}")
    except (LiveError, OSError) as error:
        pytest.exit(f"live setup failed: {error}", returncode=1)
    return cache_folder().resolve()


@pytest.fixture
def plain_cache(own_cache: Path) -> Path:
    """A cache in which `yadong` is not instrumented, whatever the user has built."""
    for build in (own_cache / "store").glob("inside-yadong-*"):
        shutil.rmtree(build)
    return own_cache


@pytest.fixture
def own_cache(cache: Path, tmp_path: Path) -> Path:
    """A cache of the test's own: what tests set up of the other, and nothing of the user's."""
    own = tmp_path / "cache"
    own.mkdir()
    shutil.copytree(cache / "store", own / "store", symlinks=True, copy_function=link_or_copy)
    for covering in cache.glob("cover-*.json"):
        link_or_copy(str(covering), str(own / covering.name))
    setup = read_setup(cache)
    variants = {name: setup.variants[name] for name in SET_UP}
    (own / SETUP).write_text(setup_text(replace(setup, variants=variants)))
    return own
