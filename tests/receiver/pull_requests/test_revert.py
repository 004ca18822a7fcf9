"""The pull request that takes a pin back: it goes when it is pointless, unless a person has made it their own."""

import threading
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters.git.mirror import GitSource
from receiver.adapters.github.pulls import Pulls
from receiver.adapters.github.statuses import Statuses
from receiver.core.messages import RevertNeeded
from receiver.core.redact import Redactor
from receiver.ports import Snapshot
from receiver.pull_requests.open_pull_request import open_pull_request
from receiver.pull_requests.promotion import PinChange, push_promotion_branch
from receiver.pull_requests.reviewer import GitHub, Reviewer
from tests.support.flow import MODEL
from tests.support.git_repos import git
from tests.support.github_scenario import GitHubScenario
from tests.support.github_server import FakeGitHub, Fault
from tests.support.github_spec import require_description

require_description()


class Reverting(GitHubScenario):
    """Version 2 did not hold in staging, and its revert is open."""

    reviewer: Reviewer

    def run_plans(self) -> None:
        """Have the open pull requests looked at."""
        self.reviewer.run(threading.Event())

    def revert(self) -> dict[str, Any]:
        """The pull request, as GitHub has it."""
        (number,) = (n for n, p in self.github.pulls.items() if p["head"].startswith("rollback/"))
        return self.github.pulls[number]

    def said(self) -> list[str]:
        """The comments that are no plans."""
        bodies = [comment["shown"]["body"] for comment in self.github.comments.values()]
        return [body.partition("\n")[2] for body in bodies if "pinrail:plan" not in body]


@pytest.fixture
def scenario(tmp_path: Path, github: FakeGitHub, url: str) -> Reverting:
    scenario = Reverting(tmp_path, url, github)
    source = GitSource(scenario.origin.url, "main", tmp_path / "proposals.git")
    there = GitHub(source, Pulls(scenario.client), Statuses(scenario.client), "main", Redactor())
    scenario.reviewer = Reviewer(scenario.services, there)
    scenario.register("long", "long", "long")
    scenario.pin(1, 1)
    scenario.run()
    scenario.flow.prober.failing_smoke.add(2)
    scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    return scenario


def test_a_revert_stays_open_while_what_failed_is_pinned(scenario: Reverting) -> None:
    scenario.run_plans()
    scenario.origin.commit({"README.md": "news"})
    scenario.run_plans()
    assert scenario.revert()["state"] == "open"
    assert scenario.said() == []


def test_a_revert_is_closed_once_something_else_is_pinned_and_says_what(scenario: Reverting) -> None:
    scenario.pin(3, 1)
    scenario.run_plans()
    scenario.run_plans()
    assert scenario.revert()["state"] == "closed"
    assert scenario.said() == ["staging pins churn-model v3 now, not v2: there is nothing left to revert."]


def test_a_revert_is_closed_once_the_model_is_not_pinned_any_more(scenario: Reverting) -> None:
    scenario.origin.commit(dict(scenario.flow.files(None, 1)))
    scenario.run_plans()
    assert scenario.said() == ["staging does not pin churn-model any more: there is nothing left to revert."]


def test_a_revert_that_a_person_has_opened_again_stays_open(scenario: Reverting) -> None:
    scenario.pin(3, 1)
    scenario.run_plans()
    scenario.revert()["state"] = "open"
    scenario.run_plans()
    assert scenario.revert()["state"] == "open"


@pytest.mark.parametrize("field", ["title", "body"])
def test_a_revert_that_a_person_has_edited_is_left_alone(scenario: Reverting, field: str) -> None:
    scenario.revert()[field] += " (wait for me)"
    scenario.pin(3, 1)
    scenario.run_plans()
    assert scenario.revert()["state"] == "open"


def test_a_revert_that_a_person_has_pushed_to_is_left_alone(scenario: Reverting) -> None:
    branch = scenario.revert()["head"]
    scenario.origin.branch = branch
    git(scenario.origin.work, "fetch", "--quiet", str(scenario.origin.path), branch)
    git(scenario.origin.work, "reset", "--hard", "--quiet", "FETCH_HEAD")
    scenario.origin.commit({"README.md": "one more thing"})
    scenario.origin.branch = "main"
    git(scenario.origin.work, "fetch", "--quiet", str(scenario.origin.path), "main")
    git(scenario.origin.work, "reset", "--hard", "--quiet", "FETCH_HEAD")
    scenario.pin(3, 1)
    scenario.run_plans()
    assert scenario.revert()["state"] == "open"


def test_other_line_ends_are_no_change_of_a_persons(scenario: Reverting) -> None:
    scenario.revert()["body"] = scenario.revert()["body"].replace("\n", "\r\n").rstrip()
    scenario.pin(3, 1)
    scenario.run_plans()
    assert scenario.revert()["state"] == "closed"


def test_a_revert_is_closed_with_one_comment_though_an_answer_was_lost(scenario: Reverting) -> None:
    scenario.run_plans()
    scenario.pin(3, 1)
    for lost in (1, 2, 3):
        scenario.github.faults = [*([None] * lost), Fault(lost=True)]
        with pytest.raises(Exception, match="GitHub could not be asked"):
            scenario.run_plans()
    scenario.run_plans()
    assert scenario.revert()["state"] == "closed"
    assert len(scenario.said()) == 1


def test_a_branch_that_may_have_moved_on_closes_nothing(scenario: Reverting, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = Snapshot("0" * 40, scenario.flow.files(1, 1), rewritten=False, stale="the remote cannot be reached")
    monkeypatch.setattr(scenario.reviewer.github.source, "snapshot", lambda: earlier)
    scenario.run_plans()
    assert scenario.revert()["state"] == "open"


def test_a_persons_own_rollback_is_not_superseded_by_the_receivers(scenario: Reverting) -> None:
    assert scenario.upstream.pulls is not None
    scenario.pin(3, 1)
    scenario.run_plans()
    change = PinChange(MODEL, 1, "staging", back=True)
    own = open_pull_request(
        scenario.upstream.pulls,
        push_promotion_branch(scenario.upstream.remote, "main", change),
        "main",
        "I want v1 back.",
    )
    scenario.flow.prober.failing_smoke.add(3)
    scenario.run()
    scenario.deliver()
    assert scenario.github.pulls[own.number]["state"] == "open"


def test_a_revert_for_what_labels_say_has_the_figures_and_says_that_the_version_still_serves(
    scenario: Reverting,
) -> None:
    scenario.pin(3, 1)
    scenario.run()
    scenario.run_plans()
    says = "150 of 300 labelled answers are right"
    scenario.services.outbox.put(RevertNeeded("staging", MODEL, 3, 1, says, by_labels=True))
    scenario.deliver()
    (revert,) = (p for p in scenario.github.pulls.values() if p["state"] == "open")
    assert revert["head"].startswith("rollback/")
    for text in (says, "in place of v3, which serves until then", "may be read after every label"):
        assert text in revert["body"]
    assert "last log lines" not in revert["body"]
    scenario.run_plans()
    assert revert["state"] == "open"
    scenario.pin(1, 1)
    scenario.run_plans()
    assert revert["state"] == "closed"
