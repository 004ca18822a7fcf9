from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.git_repos import Origin
from tests.support.github_server import FakeGitHub, serving
from tests.support.told import Told


@pytest.fixture
def github(tmp_path: Path) -> FakeGitHub:
    return FakeGitHub(origin=Origin(tmp_path / "git"))


@pytest.fixture
def url(github: FakeGitHub) -> Iterator[str]:
    with serving(github) as url:
        yield url


@pytest.fixture
def road(tmp_path: Path, github: FakeGitHub, url: str) -> Told:
    """Version 1 is live in both environments, and GitHub knows."""
    road = Told(tmp_path, url, github)
    road.register("long", "long", "long")
    road.pin(1, 1)
    road.run()
    road.deliver()
    return road
