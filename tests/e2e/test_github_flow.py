"""After a merge, on a real receiver: statuses, deployments and the revert pull request; a rollback by one command."""

from functools import partial
from pathlib import Path

import pytest

from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.pulls import Pulls
from tests.support.github_server import TOKEN, FakeGitHub, serving
from tests.support.github_spec import require_description
from tests.support.models import Versions
from tests.support.waiting import eventually
from tests.support.world import World

require_description()


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_promotion_is_announced_and_a_rollback_by_hand_restores_first_and_then_asks_for_the_merge(
    tmp_path: Path, versions: Versions
) -> None:
    with World(tmp_path, versions, stabilise_seconds=0.2) as world:
        github = FakeGitHub("owner/models", world.origin)
        with serving(github) as url:
            world.environ |= {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": url, "PINRAIL_CANDIDATES": "false"}
            with world.program():
                _walk(world, versions, github, url)


def _walk(world: World, versions: Versions, github: FakeGitHub, url: str) -> None:
    def shows(commit: str, state: str) -> bool:
        states = [s["state"] for s in github.statuses if (s["sha"], s["context"]) == (commit, "pinrail/staging")]
        return states[-1:] == [state]

    def verifies(version: int) -> bool:
        return world.verified() == version

    for version in (versions.good, versions.better):
        commit = world.commit(version)
        assert world.push() == 202
        eventually(partial(verifies, version), 60)
        eventually(partial(shows, commit, "success"), 30)
    done = world.command("rollback", "staging", world.model, "--now", "--reason", "wrong answers")
    assert done.returncode == 0, done.stderr
    assert f"v{versions.better} is held, v{versions.good} serves again" in done.stdout
    assert world.health()["version"] == versions.good
    eventually(partial(shows, commit, "failure"), 30)

    pulls = Pulls(GitHubClient("owner/models", TOKEN, url))
    (pull,) = pulls.opened("main")
    assert pull.title == f"Roll {world.model} back to v{versions.good} in staging (was v{versions.better})"
    pulls.merge(pull, pull.title)
    assert world.push() == 202
    assert "in sync" in world.command("status").stdout
    assert world.health()["version"] == versions.good
