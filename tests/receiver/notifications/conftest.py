from pathlib import Path

import pytest

from tests.support.github_server import FakeGitHub
from tests.support.told import Told


@pytest.fixture
def road(tmp_path: Path, github: FakeGitHub, url: str) -> Told:
    """Version 1 is live in both environments, and GitHub knows."""
    road = Told(tmp_path, url, github)
    road.register("long", "long", "long")
    road.pin(1, 1)
    road.run()
    road.deliver()
    return road
