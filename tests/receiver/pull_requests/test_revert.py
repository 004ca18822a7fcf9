"""The pull request that takes a pin back: it goes when it is pointless, unless a person has made it their own."""

import threading
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters.git.mirror import GitSource
from receiver.adapters.github.pulls import Pulls
from receiver.adapters.github.statuses import Statuses
from receiver.core.redact import Redactor
from receiver.ports import Snapshot
from receiver.pull_requests.promotion import Change, promote
from receiver.pull_requests.proposal import propose
from receiver.pull_requests.reviewer import GitHub, Reviewer
from tests.support.flow import MODEL
from tests.support.git_repos import git
from tests.support.github_server import FakeGitHub, Fault
from tests.support.github_spec import require_description
from tests.support.told import Told

require_description()


class Reverting(Told):
    """Version 2 did not hold in staging, and its revert is open."""

    reviewer: Reviewer

    def look(self) -> None:
        """Have the open pull requests looked at."""
        self.reviewer.look(threading.Event())

    def revert(self) -> dict[str, Any]:
        """The pull request, as GitHub has it."""
        (number,) = (n for n, p in self.github.pulls.items() if p["head"].startswith("rollback/"))
        return self.github.pulls[number]

    def said(self) -> list[str]:
        """The comments that are no plans."""
        bodies = [comment["shown"]["body"] for comment in self.github.comments.values()]
        return [body.partition("\n")[2] for body in bodies if "pinrail:plan" not in body]


@pytest.fixture
def road(tmp_path: Path, github: FakeGitHub, url: str) -> Reverting:
    road = Reverting(tmp_path, url, github)
    proposals = GitSource(road.origin.url, "main", tmp_path / "proposals.git")
    there = GitHub(proposals, Pulls(road.client), Statuses(road.client), "main", Redactor())
    road.reviewer = Reviewer(road.services, there)
    road.register("long", "long", "long")
    road.pin(1, 1)
    road.run()
    road.flow.prober.rude.add(2)
    road.pin(2, 1)
    road.run()
    road.deliver()
    return road


def test_a_revert_stays_open_while_what_failed_is_pinned(road: Reverting) -> None:
    road.look()
    road.origin.commit({"README.md": "news"})
    road.look()
    assert road.revert()["state"] == "open"
    assert road.said() == []


def test_a_revert_is_closed_once_something_else_is_pinned_and_says_what(road: Reverting) -> None:
    road.pin(3, 1)
    road.look()
    road.look()
    assert road.revert()["state"] == "closed"
    assert road.said() == ["staging pins churn-model v3 by now, not v2: there is nothing left to take back."]


def test_a_revert_is_closed_once_the_model_is_not_pinned_any_more(road: Reverting) -> None:
    road.origin.commit(dict(road.flow.files(None, 1)))
    road.look()
    assert road.said() == ["staging does not pin churn-model any more, so there is nothing left to take back."]


def test_a_revert_that_a_person_has_opened_again_stays_open(road: Reverting) -> None:
    road.pin(3, 1)
    road.look()
    road.revert()["state"] = "open"
    road.look()
    assert road.revert()["state"] == "open"


@pytest.mark.parametrize("field", ["title", "body"])
def test_a_revert_that_a_person_has_edited_is_left_alone(road: Reverting, field: str) -> None:
    road.revert()[field] += " (wait for me)"
    road.pin(3, 1)
    road.look()
    assert road.revert()["state"] == "open"


def test_a_revert_that_a_person_has_pushed_to_is_left_alone(road: Reverting) -> None:
    branch = road.revert()["head"]
    road.origin.branch = branch
    git(road.origin.work, "fetch", "--quiet", str(road.origin.path), branch)
    git(road.origin.work, "reset", "--hard", "--quiet", "FETCH_HEAD")
    road.origin.commit({"README.md": "one more thing"})
    road.origin.branch = "main"
    git(road.origin.work, "fetch", "--quiet", str(road.origin.path), "main")
    git(road.origin.work, "reset", "--hard", "--quiet", "FETCH_HEAD")
    road.pin(3, 1)
    road.look()
    assert road.revert()["state"] == "open"


def test_other_line_ends_are_no_change_of_a_persons(road: Reverting) -> None:
    road.revert()["body"] = road.revert()["body"].replace("\n", "\r\n").rstrip()
    road.pin(3, 1)
    road.look()
    assert road.revert()["state"] == "closed"


def test_a_revert_is_closed_with_one_comment_though_an_answer_was_lost(road: Reverting) -> None:
    road.look()
    road.pin(3, 1)
    for lost in (1, 2, 3):
        road.github.faults = [*([None] * lost), Fault(lost=True)]
        with pytest.raises(Exception, match="GitHub could not be asked"):
            road.look()
    road.look()
    assert road.revert()["state"] == "closed"
    assert len(road.said()) == 1


def test_a_branch_that_may_have_moved_on_closes_nothing(road: Reverting, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = Snapshot("0" * 40, road.flow.files(1, 1), rewritten=False, stale="the remote cannot be reached")
    monkeypatch.setattr(road.reviewer.github.proposals, "snapshot", lambda: earlier)
    road.look()
    assert road.revert()["state"] == "open"


def test_a_persons_own_rollback_is_not_superseded_by_the_receivers(road: Reverting) -> None:
    assert road.forge.pulls is not None
    road.pin(3, 1)
    road.look()
    change = Change(MODEL, 1, "staging", back=True)
    own = propose(road.forge.pulls, promote(road.forge.remote, "main", change), "main", "I want v1 back.")
    road.flow.prober.rude.add(3)
    road.run()
    road.deliver()
    assert road.github.pulls[own.number]["state"] == "open"
