"""What labels say of a version stands on the pull request that promoted it, once."""

from pathlib import Path

import pytest

from receiver.adapters.github.dispatcher import Dispatcher
from receiver.adapters.github.pulls import Pulls
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.core.messages import GITHUB, RealisedFigures
from receiver.core.redact import Redactor
from receiver.pull_requests.promotion import PinChange
from receiver.pull_requests.realised_comment import RealisedCommenter
from tests.support.flow import MODEL
from tests.support.git_repos import git
from tests.support.github_scenario import GitHubScenario
from tests.support.github_server import FakeGitHub
from tests.support.github_spec import require_description

require_description()


class Commented(GitHubScenario):
    """Pull requests that were merged, and the figures of versions."""

    def merged(self, version: int, title: str = "", *, rolling: bool = False) -> int:
        change = PinChange(MODEL, version, "staging", rolling=rolling)
        git(self.origin.path, "update-ref", f"refs/heads/{change.branch}", "main")
        number = self.github.open_pull(change.branch, "main", title or change.title(1), "")
        self.github.pulls[number] |= {"state": "closed", "merged": True}
        return number

    def publish(self, version: int, *lines: str) -> list[tuple[int, str]]:
        """Deliver figures; returns all comments, with the pull request of each."""
        outbox = SqliteOutbox(self.flow.database)
        outbox.put(RealisedFigures("staging", MODEL, version, lines))
        handler = RealisedCommenter(Pulls(self.client), "main")
        assert outbox.deliver_due({GITHUB: Dispatcher({"realised": handler}, Redactor())}) == 1
        return [(c["on"], c["shown"]["body"].partition("\n")[2]) for c in self.github.comments.values()]


@pytest.fixture
def scenario(tmp_path: Path, github: FakeGitHub, url: str) -> Commented:
    scenario = Commented(tmp_path, url, github)
    scenario.pin(1, 1)
    return scenario


def test_there_is_one_comment_which_is_brought_up_to_date(scenario: Commented) -> None:
    number = scenario.merged(2)
    scenario.merged(3)
    ((on, body),) = scenario.publish(2, "accuracy 0.5 (0.4 to 0.6, 100 labels; gate 0.81; FAIL for 0.75)")
    assert on == number
    assert "v2" in body
    assert "FAIL for 0.75" in body
    ((on, body),) = scenario.publish(2, "accuracy 0.52, of <b>@all</b>")
    assert on == number
    assert "0.52" in body
    assert "<b>" not in body
    assert "0.5 (" not in body


def test_a_candidates_branch_is_used_again_so_the_title_says_which(scenario: Commented) -> None:
    numbers = [scenario.merged(version, rolling=True) for version in (2, 22, 3)]
    assert [on for on, _ in scenario.publish(2, "accuracy 0.5")] == numbers[:1]


def test_a_version_that_a_person_pinned_by_hand_has_no_comment(scenario: Commented) -> None:
    number = scenario.merged(2)
    scenario.github.pulls[number] |= {"state": "open", "merged": False}
    assert scenario.publish(2, "accuracy 0.5") == []
