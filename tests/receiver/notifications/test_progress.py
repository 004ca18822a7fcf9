"""What GitHub shows after a merge: statuses per environment, deployments, and the way back where it did not hold."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters.github.sender import CHANNEL
from receiver.core.errors import Rejected
from receiver.core.state import Server
from receiver.notifications.announce import tell_interrupted
from receiver.pull_requests.rollback import find_way, restore
from tests.support.flow import MODEL, Flow
from tests.support.github_server import FakeGitHub, Fault
from tests.support.github_spec import require_description
from tests.support.killing import Killed, killing, unwrap
from tests.support.road import STAGING
from tests.support.told import SECRET, Told

require_description()


def an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    then = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: then)


def test_two_deployments_of_one_commit_in_two_environments_are_two_statuses(road: Told) -> None:
    commit = road.origin.head()
    assert road.status(commit, "staging") == ("success", "churn-model v1 is live")
    assert road.status(commit, "production") == ("success", "churn-model v1 is live")
    assert road.deployments(commit, "staging") == road.deployments(commit, "production") == ["in_progress", "success"]


def test_a_promotion_goes_through_its_states_and_ends_the_one_before(road: Told) -> None:
    before, commit = road.origin.head(), road.pin(2, 1)
    road.run()
    road.deliver()
    shown = [s["state"] for s in road.github.statuses if s["sha"] == commit]
    assert shown == ["pending", "success"]
    assert road.deployments(commit, "staging") == ["in_progress", "success"]
    assert road.deployments(before, "staging") == ["in_progress", "success", "inactive"]
    assert road.deployments(before, "production") == ["in_progress", "success"]
    urls = [s["environment_url"] for told in road.github.deployment_statuses.values() for s in told]
    assert set(urls) == {"", "http://127.0.0.1:8000", "http://127.0.0.1:8001"}


def test_a_commit_that_changes_nothing_is_not_spoken_of(road: Told) -> None:
    calls = len(road.github.calls)
    commit = road.origin.commit({"README.md": "hello"})
    road.run()
    assert road.deliver() == 0
    assert (road.status(commit, "staging"), len(road.github.calls)) == (None, calls)


def test_a_rollback_is_a_failure_with_a_revert_that_says_why_and_brings_the_last_words(road: Told) -> None:
    road.flow.target.broken = frozenset({2})
    commit = road.pin(2, 1)
    road.run()
    road.deliver()
    status = road.status(commit, "staging")
    assert status is not None
    assert status[0] == "failure"
    assert status[1].startswith("churn-model v2 was rolled back: staging/churn-model v2 ended while it was starting")
    assert road.deployments(commit, "staging") == ["in_progress", "failure"]
    (pull,) = road.pulls_open()
    assert pull["title"] == "Roll churn-model back to v1 in staging (was v2)"
    assert "The model server's last words:\n\n```text\nit is broken\n```" in pull["body"]
    assert "| run | <code>run-2</code> | <code>run-1</code> |" in pull["body"]


def test_merging_the_revert_ends_the_hold_and_all_agree(road: Told) -> None:
    road.flow.prober.tired.add(2)
    road.pin(2, 1)
    road.run()
    road.deliver()
    assert not road.run("timer").outcomes, "held"
    assert road.forge.pulls is not None
    (pull,) = road.forge.pulls.opened("main")
    road.forge.pulls.merge(pull, pull.title)
    assert not road.run().outcomes
    assert road.flow.serving() == {"staging": 1, "production": 1}
    road.deliver()
    assert road.pulls_open() == []


def test_the_first_version_ever_has_nothing_to_go_back_to_so_nothing_is_proposed(
    tmp_path: Path, github: FakeGitHub, url: str
) -> None:
    road = Told(tmp_path, url, github)
    road.register("long")
    road.flow.prober.rude.add(1)
    commit = road.pin(1, 1)
    road.run()
    road.deliver()
    status = road.status(commit, "staging")
    assert status is not None
    assert status[0] == "failure"
    assert road.pulls_open() == []


def test_a_pin_that_moved_on_is_not_taken_back(road: Told) -> None:
    road.flow.prober.rude.add(2)
    road.pin(2, 1)
    road.run()
    road.pin(3, 1)
    road.deliver()
    assert road.pulls_open() == []
    assert road.origin.branches() == ["main"]


def test_a_refused_pin_is_a_failure_and_a_soaking_one_waits(tmp_path: Path, github: FakeGitHub, url: str) -> None:
    road = Told(tmp_path, url, github, soak="30m")
    road.register("long", "long")
    road.pin(1, 1)
    road.run()
    commit = road.pin(2, 2)
    road.flow.registry.models[MODEL][2].evidence.pop("staging")
    road.run()
    road.deliver()
    refused = road.status(commit, "staging")
    assert refused is not None
    assert refused[0] == "failure"
    assert "has no evidence for staging" in refused[1]
    road.flow.record(2)
    road.run("timer")
    road.deliver()
    assert road.status(commit, "staging") == ("success", "churn-model v2 is live")
    waiting = road.status(commit, "production")
    assert waiting is not None
    assert waiting[0] == "pending"
    assert road.deployments(commit, "production")[-1] == "queued"


def test_a_wait_that_ends_at_a_later_commit_leaves_nothing_pending_behind(
    tmp_path: Path, github: FakeGitHub, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = Told(tmp_path, url, github, soak="30m")
    road.register("long", "long")
    road.pin(1, 1)
    road.run()
    an_hour_later(monkeypatch)
    road.run("timer")
    earlier = road.pin(2, 2)
    road.run()
    road.deliver()
    assert (road.status(earlier, "production") or ("",))[0] == "pending"
    later = road.origin.commit({"README.md": "hello"})
    an_hour_later(monkeypatch)
    road.run("timer")
    road.deliver()
    assert road.status(later, "production") == ("success", "churn-model v2 is live")
    assert road.status(earlier, "production") == ("success", f"churn-model v2 is live (at {later[:7]})")
    assert road.deployments(earlier, "production") == ["queued", "inactive"]


def test_a_wait_that_another_version_ends_is_said_to_be_over(tmp_path: Path, github: FakeGitHub, url: str) -> None:
    road = Told(tmp_path, url, github, soak="30m")
    road.register("long", "long")
    earlier = road.pin(1, 1)
    road.run()
    later = road.pin(2, 2)
    road.run()
    road.deliver()
    assert road.status(earlier, "production") == ("error", f"churn-model: followed by {later[:7]}")
    assert road.deployments(earlier, "production") == ["queued", "inactive"]


def test_where_putting_back_fails_too_it_is_an_error_and_the_way_back_is_proposed(
    road: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_the_port(server: Server, seconds: float) -> None:
        road.flow.target.foreign_ports.add(server.spec.port)
        raise Rejected("v2 answered 500")

    monkeypatch.setattr(road.flow.prober, "watch", take_the_port)
    commit = road.pin(2, 1)
    road.run()
    road.deliver()
    state, said = road.status(commit, "staging") or ("", "")
    assert (state, said) == ("error", "churn-model v2 NEEDS A HUMAN: v2 answered 500")
    assert road.deployments(commit, "staging")[-1] == "error"
    assert len(road.pulls_open()) == 1


def test_a_rollback_by_hand_turns_the_commit_red_and_the_earlier_deployment_green(road: Told) -> None:
    first, commit = road.origin.head(), road.pin(2, 1)
    road.run()
    road.deliver()
    restore(road.services, road.queue, find_way(road.services, STAGING, None), "wrong answers")
    road.run("rollback")
    road.deliver()
    assert road.status(commit, "staging") == ("failure", "churn-model v2 was rolled back: wrong answers")
    assert road.deployments(commit, "staging") == ["in_progress", "success", "failure"]
    assert road.deployments(first, "staging") == ["in_progress", "success", "inactive", "success"]


def test_healing_is_nobodys_news_but_failing_to_heal_is(road: Told) -> None:
    commit, calls = road.origin.head(), len(road.github.calls)
    road.flow.target.die(next(s for s in road.flow.target.observe() if s.spec.slot == STAGING))
    road.run("timer")
    assert road.deliver() == 0
    assert len(road.github.calls) == calls
    road.flow.target.die(next(s for s in road.flow.target.observe() if s.spec.slot == STAGING))
    road.flow.target.broken = frozenset({1})
    for _ in range(2):
        road.run("timer")
    road.deliver()
    assert (road.status(commit, "staging") or ("",))[0] == "error"
    assert road.deployments(commit, "staging") == ["in_progress", "success", "error"]
    road.flow.target.broken = frozenset()
    road.run("timer")
    road.deliver()
    assert road.status(commit, "staging") == ("success", "churn-model v1 is live")
    assert road.deployments(commit, "staging")[-1] == "success"


def test_a_removed_pin_ends_its_deployment(road: Told) -> None:
    first = road.origin.head()
    commit = road.origin.commit(dict(road.flow.files(None, 1)))
    road.run()
    road.deliver()
    assert road.status(commit, "staging") == ("success", "churn-model is served no more")
    assert road.deployments(first, "staging")[-1] == road.deployments(commit, "staging")[-1] == "inactive"


@pytest.mark.parametrize("fault", [Fault(403), Fault(429), Fault(500), Fault(503), Fault(status=502, body=b"<html>")])
def test_a_github_that_fails_changes_no_outcome(road: Told, fault: Fault) -> None:
    road.github.faults = [fault] * 50
    road.pin(2, 1)
    report = road.run()
    road.deliver()
    road.github.faults = []
    assert road.flow.serving()["staging"] == 2
    assert [str(outcome) for outcome in report.outcomes.values()] == ["live"]


def test_a_rate_limit_is_waited_out_for_as_long_as_github_says(road: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = road.pin(2, 1)
    road.run()
    road.github.faults = [Fault(403, {"retry-after": "900"}, b'{"message": "secondary rate limit"}')]
    assert road.deliver() == 0
    start, calls = time.time(), len(road.github.calls)
    monkeypatch.setattr(time, "time", lambda: start + 890)
    assert road.deliver() == 0
    assert len(road.github.calls) == calls
    monkeypatch.setattr(time, "time", lambda: start + 901)
    assert road.deliver() == 4
    assert (road.status(commit, "staging") or ("",))[0] == "success"


def test_a_token_that_expired_keeps_the_news_until_there_is_another(
    road: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = road.pin(2, 1)
    road.run()
    road.github.faults = [Fault(401)]
    assert road.deliver() == 0
    later = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    assert road.deliver() == 4
    assert (road.status(commit, "staging") or ("",))[0] == "success"


def test_no_secret_gets_to_github(road: Told) -> None:
    road.flow.target.last_words = lambda _: f"cannot log in with {SECRET}"  # type: ignore[method-assign, assignment]
    road.flow.prober.rude.add(2)
    road.pin(2, 1)
    road.run()
    road.deliver()
    (pull,) = road.pulls_open()
    assert "cannot log in with \\*\\*\\*" in pull["body"] or "cannot log in with ***" in pull["body"]
    assert SECRET not in str(road.github.pulls) + str(road.github.statuses) + str(road.github.deployment_statuses)


def test_killed_at_any_journal_write_a_rollback_is_told_and_its_revert_proposed_once(tmp_path: Path) -> None:
    boundary, finished = 0, False
    while not finished:
        boundary += 1
        flow, told = Flow(tmp_path / str(boundary)), list[Any]()
        flow.register(1, 2)
        flow.pin(staging=1, production=1)
        flow.run()
        flow.prober.tired.add(2)
        commit = flow.pin(staging=2, production=1)
        killing(flow.journal, boundary)
        try:
            flow.run()
            finished = True
        except Killed:
            pass
        unwrap(flow.journal)
        services = flow.services
        flow.journal.interrupt_running("died", partial(tell_interrupted, services, reason="died"))
        flow.run("startup")
        services.outbox.deliver_due({CHANNEL: told.append})
        statuses = [m["state"] for m in told if m["kind"] == "status" and m["commit"] == commit]
        deployments = [m["state"] for m in told if m["kind"] == "deployment" and m["of"]["commit"] == commit]
        assert (statuses[-1], deployments[-1]) == ("failure", "failure"), f"after boundary {boundary}"
        assert [(m["failed"], m["back_to"]) for m in told if m["kind"] == "revert"] == [(2, 1)]
    assert boundary >= 10
