"""What GitHub shows after a merge: statuses per environment, deployments, and the way back where it did not hold."""

import time
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.core.errors import VersionFailed
from receiver.core.messages import GITHUB
from receiver.core.state import Server
from receiver.pull_requests.rollback import hold_newer, plan_rollback
from receiver.reconciler.reconcile import close_interrupted
from tests.support.flow import MODEL, Flow
from tests.support.github_scenario import SECRET, GitHubScenario
from tests.support.github_server import FakeGitHub, Fault
from tests.support.github_spec import require_description
from tests.support.killing import Killed, killing, unwrap
from tests.support.promotion_scenario import STAGING

require_description()


def an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    then = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: then)


def test_two_deployments_of_one_commit_in_two_environments_are_two_statuses(scenario: GitHubScenario) -> None:
    commit = scenario.origin.head()
    assert scenario.status(commit, "staging") == ("success", "churn-model v1 is live")
    assert scenario.status(commit, "production") == ("success", "churn-model v1 is live")
    assert (
        scenario.deployments(commit, "staging")
        == scenario.deployments(commit, "production")
        == ["in_progress", "success"]
    )


def test_a_promotion_goes_through_its_states_and_ends_the_one_before(scenario: GitHubScenario) -> None:
    before, commit = scenario.origin.head(), scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    shown = [s["state"] for s in scenario.github.statuses if s["sha"] == commit]
    assert shown == ["pending", "success"]
    assert scenario.deployments(commit, "staging") == ["in_progress", "success"]
    assert scenario.deployments(before, "staging") == ["in_progress", "success", "inactive"]
    assert scenario.deployments(before, "production") == ["in_progress", "success"]
    urls = [s["environment_url"] for reported in scenario.github.deployment_statuses.values() for s in reported]
    assert set(urls) == {"", "http://127.0.0.1:8000", "http://127.0.0.1:8001"}


def test_a_commit_that_changes_nothing_is_not_spoken_of(scenario: GitHubScenario) -> None:
    calls = len(scenario.github.calls)
    commit = scenario.origin.commit({"README.md": "hello"})
    scenario.run()
    assert scenario.deliver() == 0
    assert (scenario.status(commit, "staging"), len(scenario.github.calls)) == (None, calls)


def test_a_rollback_is_a_failure_with_a_revert_that_says_why_and_brings_the_log_tail(
    scenario: GitHubScenario,
) -> None:
    scenario.flow.target.broken = frozenset({2})
    commit = scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    status = scenario.status(commit, "staging")
    assert status is not None
    assert status[0] == "failure"
    assert status[1].startswith("churn-model v2 was rolled back: staging/churn-model v2 ended while it was starting")
    assert scenario.deployments(commit, "staging") == ["in_progress", "failure"]
    (pull,) = scenario.pulls_open()
    assert pull["title"] == "Roll churn-model back to v1 in staging (was v2)"
    assert "The model server's last log lines:\n\n```text\nit is broken\n```" in pull["body"]
    assert "| run | <code>run-2</code> | <code>run-1</code> |" in pull["body"]


def test_merging_the_revert_ends_the_hold_and_all_agree(scenario: GitHubScenario) -> None:
    scenario.flow.prober.slow_watch.add(2)
    scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    assert not scenario.run("timer").outcomes, "held"
    assert scenario.upstream.pulls is not None
    (pull,) = scenario.upstream.pulls.opened("main")
    scenario.upstream.pulls.merge(pull, pull.title)
    assert not scenario.run().outcomes
    assert scenario.flow.serving() == {"staging": 1, "production": 1}
    scenario.deliver()
    assert scenario.pulls_open() == []


def test_the_first_version_ever_has_nothing_to_go_back_to_so_nothing_is_proposed(
    tmp_path: Path, github: FakeGitHub, url: str
) -> None:
    scenario = GitHubScenario(tmp_path, url, github)
    scenario.register("long")
    scenario.flow.prober.failing_smoke.add(1)
    commit = scenario.pin(1, 1)
    scenario.run()
    scenario.deliver()
    status = scenario.status(commit, "staging")
    assert status is not None
    assert status[0] == "failure"
    assert scenario.pulls_open() == []


def test_a_pin_that_moved_on_is_not_taken_back(scenario: GitHubScenario) -> None:
    scenario.flow.prober.failing_smoke.add(2)
    scenario.pin(2, 1)
    scenario.run()
    scenario.pin(3, 1)
    scenario.deliver()
    assert scenario.pulls_open() == []
    assert scenario.origin.branches() == ["main"]


def test_a_refused_pin_is_a_failure_and_a_soaking_one_waits(tmp_path: Path, github: FakeGitHub, url: str) -> None:
    scenario = GitHubScenario(tmp_path, url, github, soak="30m")
    scenario.register("long", "long")
    scenario.pin(1, 1)
    scenario.run()
    commit = scenario.pin(2, 2)
    scenario.flow.registry.models[MODEL][2].evidence.pop("staging")
    scenario.run()
    scenario.deliver()
    refused = scenario.status(commit, "staging")
    assert refused is not None
    assert refused[0] == "failure"
    assert "has no evidence for staging" in refused[1]
    scenario.flow.record(2)
    scenario.run("timer")
    scenario.deliver()
    assert scenario.status(commit, "staging") == ("success", "churn-model v2 is live")
    waiting = scenario.status(commit, "production")
    assert waiting is not None
    assert waiting[0] == "pending"
    assert scenario.deployments(commit, "production")[-1] == "queued"


def test_a_wait_that_ends_at_a_later_commit_leaves_nothing_pending_behind(
    tmp_path: Path, github: FakeGitHub, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = GitHubScenario(tmp_path, url, github, soak="30m")
    scenario.register("long", "long")
    scenario.pin(1, 1)
    scenario.run()
    an_hour_later(monkeypatch)
    scenario.run("timer")
    earlier = scenario.pin(2, 2)
    scenario.run()
    scenario.deliver()
    assert (scenario.status(earlier, "production") or ("",))[0] == "pending"
    later = scenario.origin.commit({"README.md": "hello"})
    an_hour_later(monkeypatch)
    scenario.run("timer")
    scenario.deliver()
    assert scenario.status(later, "production") == ("success", "churn-model v2 is live")
    assert scenario.status(earlier, "production") == ("success", f"churn-model v2 is live (at {later[:7]})")
    assert scenario.deployments(earlier, "production") == ["queued", "inactive"]


def test_a_wait_that_another_version_ends_is_said_to_be_over(tmp_path: Path, github: FakeGitHub, url: str) -> None:
    scenario = GitHubScenario(tmp_path, url, github, soak="30m")
    scenario.register("long", "long")
    earlier = scenario.pin(1, 1)
    scenario.run()
    later = scenario.pin(2, 2)
    scenario.run()
    scenario.deliver()
    assert scenario.status(earlier, "production") == ("error", f"churn-model: followed by {later[:7]}")
    assert scenario.deployments(earlier, "production") == ["queued", "inactive"]


def test_where_the_rollback_fails_too_it_is_an_error_and_the_way_back_is_proposed(scenario: GitHubScenario) -> None:
    scenario.flow.prober.slow_watch |= {1, 2}
    commit = scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    state, said = scenario.status(commit, "staging") or ("", "")
    assert (state, said) == ("error", "churn-model v2 NEEDS A HUMAN: v2 answered 500 after 3 s")
    assert scenario.deployments(commit, "staging")[-1] == "error"
    assert len(scenario.pulls_open()) == 1


def test_a_rollback_that_finds_its_port_taken_goes_on_until_it_is_free(
    scenario: GitHubScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_the_port(server: Server, *_: object) -> None:
        scenario.flow.target.foreign_ports.add(server.spec.port)
        raise VersionFailed("v2 answered 500")

    with monkeypatch.context() as patched:
        patched.setattr(scenario.flow.prober, "watch", take_the_port)
        commit = scenario.pin(2, 1)
        scenario.run()
    scenario.deliver()
    assert (scenario.status(commit, "staging") or ("",))[0] == "failure"
    scenario.flow.target.foreign_ports.clear()
    scenario.run("timer")
    assert scenario.flow.serving()["staging"] == 1


def test_a_rollback_by_hand_turns_the_commit_red_and_the_earlier_deployment_green(scenario: GitHubScenario) -> None:
    first, commit = scenario.origin.head(), scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    hold_newer(scenario.services, plan_rollback(scenario.services, STAGING, None), "wrong answers")
    scenario.run("rollback")
    scenario.deliver()
    assert scenario.status(commit, "staging") == ("failure", "churn-model v2 was rolled back: wrong answers")
    assert scenario.deployments(commit, "staging") == ["in_progress", "success", "failure"]
    assert scenario.deployments(first, "staging") == ["in_progress", "success", "inactive", "success"]


def test_healing_is_not_announced_but_a_failure_to_heal_is(scenario: GitHubScenario) -> None:
    commit, calls = scenario.origin.head(), len(scenario.github.calls)
    scenario.flow.target.die(next(s for s in scenario.flow.target.observe() if s.spec.slot == STAGING))
    scenario.run("timer")
    assert scenario.deliver() == 0
    assert len(scenario.github.calls) == calls
    scenario.flow.target.die(next(s for s in scenario.flow.target.observe() if s.spec.slot == STAGING))
    scenario.flow.target.broken = frozenset({1})
    for _ in range(2):
        scenario.run("timer")
    scenario.deliver()
    assert (scenario.status(commit, "staging") or ("",))[0] == "error"
    assert scenario.deployments(commit, "staging") == ["in_progress", "success", "error"]
    scenario.flow.target.broken = frozenset()
    scenario.run("timer")
    scenario.deliver()
    assert scenario.status(commit, "staging") == ("success", "churn-model v1 is live")
    assert scenario.deployments(commit, "staging")[-1] == "success"


def test_a_removed_pin_ends_its_deployment(scenario: GitHubScenario) -> None:
    first = scenario.origin.head()
    commit = scenario.origin.commit(dict(scenario.flow.files(None, 1)))
    scenario.run()
    scenario.deliver()
    assert scenario.status(commit, "staging") == ("success", "churn-model is served no more")
    assert scenario.deployments(first, "staging")[-1] == scenario.deployments(commit, "staging")[-1] == "inactive"


@pytest.mark.parametrize("fault", [Fault(403), Fault(429), Fault(500), Fault(503), Fault(status=502, body=b"<html>")])
def test_a_github_that_fails_changes_no_outcome(scenario: GitHubScenario, fault: Fault) -> None:
    scenario.github.faults = [fault] * 50
    scenario.pin(2, 1)
    report = scenario.run()
    scenario.deliver()
    scenario.github.faults = []
    assert scenario.flow.serving()["staging"] == 2
    assert [str(outcome) for outcome in report.outcomes.values()] == ["live"]


def test_a_rate_limit_is_waited_out_for_as_long_as_github_says(
    scenario: GitHubScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = scenario.pin(2, 1)
    scenario.run()
    scenario.github.faults = [Fault(403, {"retry-after": "900"}, b'{"message": "secondary rate limit"}')]
    assert scenario.deliver() == 0
    start, calls = time.time(), len(scenario.github.calls)
    monkeypatch.setattr(time, "time", lambda: start + 890)
    assert scenario.deliver() == 0
    assert len(scenario.github.calls) == calls
    monkeypatch.setattr(time, "time", lambda: start + 901)
    assert scenario.deliver() == 4
    assert (scenario.status(commit, "staging") or ("",))[0] == "success"


def test_a_token_that_expired_keeps_the_messages_until_there_is_another(
    scenario: GitHubScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = scenario.pin(2, 1)
    scenario.run()
    scenario.github.faults = [Fault(401)]
    assert scenario.deliver() == 0
    later = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    assert scenario.deliver() == 4
    assert (scenario.status(commit, "staging") or ("",))[0] == "success"


def test_no_secret_gets_to_github(scenario: GitHubScenario) -> None:
    scenario.flow.target.log_tail = lambda _: f"cannot log in with {SECRET}"  # type: ignore[method-assign, assignment]
    scenario.flow.prober.failing_smoke.add(2)
    scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    (pull,) = scenario.pulls_open()
    assert "cannot log in with \\*\\*\\*" in pull["body"] or "cannot log in with ***" in pull["body"]
    assert SECRET not in str(scenario.github.pulls) + str(scenario.github.statuses) + str(
        scenario.github.deployment_statuses
    )


def test_killed_at_any_journal_write_a_rollback_is_reported_and_its_revert_proposed_once(tmp_path: Path) -> None:
    boundary, finished = 0, False
    while not finished:
        boundary += 1
        flow, reported = Flow(tmp_path / str(boundary)), list[Any]()
        flow.register(1, 2)
        flow.pin(staging=1, production=1)
        flow.run()
        flow.prober.slow_watch.add(2)
        commit = flow.pin(staging=2, production=1)
        killing(flow.journal, boundary)
        try:
            flow.run()
            finished = True
        except Killed:
            pass
        unwrap(flow.journal)
        services = flow.services
        close_interrupted(services, "died")
        flow.run("startup")
        SqliteOutbox(flow.database).deliver_due({GITHUB: reported.append})
        statuses = [m["state"] for m in reported if m["kind"] == "status" and m["commit"] == commit]
        deployments = [m["state"] for m in reported if m["kind"] == "deployment" and m["of"]["commit"] == commit]
        assert (statuses[-1], deployments[-1]) == ("failure", "failure"), f"after boundary {boundary}"
        assert [(m["failed"], m["back_to"]) for m in reported if m["kind"] == "revert"] == [(2, 1)]
    assert boundary >= 10
