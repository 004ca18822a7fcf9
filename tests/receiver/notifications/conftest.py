from pathlib import Path

import pytest

from tests.support.github_scenario import GitHubScenario
from tests.support.github_server import FakeGitHub


@pytest.fixture
def scenario(tmp_path: Path, github: FakeGitHub, url: str) -> GitHubScenario:
    """Version 1 is live in both environments, and GitHub knows."""
    scenario = GitHubScenario(tmp_path, url, github)
    scenario.register("long", "long", "long")
    scenario.pin(1, 1)
    scenario.run()
    scenario.deliver()
    return scenario
