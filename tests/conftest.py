"""What all tests share: settings, and the package as a user installs it."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.installing import build, install

# How long an example takes says nothing of whether it is right: caches fill during the first.
settings.register_profile("eventdiff", deadline=None)
settings.load_profile("eventdiff")


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an sdist and of the wheel made of it."""
    return build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="session")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv's folder of programs, `eventdiff` among them, in which that wheel is installed."""
    return install(next(dist.glob("*.whl")), tmp_path_factory.mktemp("installed"))
