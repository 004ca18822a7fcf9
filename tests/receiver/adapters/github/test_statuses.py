from dataclasses import replace

import pytest

from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.statuses import CommitStatus, DeploymentOf, Statuses, brief
from receiver.core.errors import Retryable
from tests.support.github_server import FakeGitHub, Fault
from tests.support.github_spec import require_description

require_description()

COMMIT = "a" * 40
PLAN = CommitStatus(COMMIT, "pinrail/plan", "pending", "soaking, 12 minutes to go", "https://example.com/plan")
DEPLOYMENT = DeploymentOf(COMMIT, "production", "deploy:churn-model", "churn-model v6", production=True)


@pytest.fixture
def statuses(client: GitHubClient) -> Statuses:
    return Statuses(client)


def test_a_status_is_set_once_and_again_only_when_it_says_something_else(
    github: FakeGitHub, statuses: Statuses
) -> None:
    statuses.mark(PLAN)
    statuses.mark(PLAN)
    assert len(github.statuses) == 1
    statuses.mark(replace(PLAN, state="success", description="in order", url=None))
    statuses.mark(replace(PLAN, state="success", description="in order", url=None))
    assert [status["state"] for status in github.statuses] == ["pending", "success"]


def test_statuses_of_other_contexts_and_commits_are_apart(github: FakeGitHub, statuses: Statuses) -> None:
    statuses.mark(PLAN)
    statuses.mark(replace(PLAN, context="pinrail/production"))
    statuses.mark(replace(PLAN, commit="b" * 40))
    assert len(github.statuses) == 3


def test_a_description_is_cut_to_what_github_takes(github: FakeGitHub, statuses: Statuses) -> None:
    statuses.mark(replace(PLAN, description="line\n" * 100))
    assert len(github.statuses[0]["description"]) == 140
    assert brief("a\n  b") == "a b"


def test_a_deployment_is_created_once_for_a_commit_environment_and_task(
    github: FakeGitHub, statuses: Statuses
) -> None:
    first = statuses.deploying(DEPLOYMENT)
    assert statuses.deploying(DEPLOYMENT) == first
    assert statuses.deploying(replace(DEPLOYMENT, task="deploy:other-model")) != first
    assert statuses.deploying(replace(DEPLOYMENT, environment="staging", production=False)) != first
    assert len(github.deployments) == 3


def test_a_deployment_whose_creation_was_answered_into_the_void_is_found(
    github: FakeGitHub, statuses: Statuses
) -> None:
    github.faults += [Fault(200, body=b"[]"), Fault(lost=True)]
    with pytest.raises(Retryable):
        statuses.deploying(DEPLOYMENT)
    statuses.deploying(DEPLOYMENT)
    assert len(github.deployments) == 1


def test_a_deployments_states_are_reported_in_order_and_each_once(github: FakeGitHub, statuses: Statuses) -> None:
    deployment = statuses.deploying(DEPLOYMENT)
    for state in ("queued", "in_progress", "success"):
        statuses.report(deployment, state, "churn-model v6", "http://127.0.0.1:8001")
        statuses.report(deployment, state, "churn-model v6", "http://127.0.0.1:8001")
    assert [s["state"] for s in github.deployment_statuses[deployment]] == ["queued", "in_progress", "success"]


def test_a_state_without_an_address_is_reported_once_too(github: FakeGitHub, statuses: Statuses) -> None:
    deployment = statuses.deploying(DEPLOYMENT)
    statuses.report(deployment, "failure", "rolled back")
    statuses.report(deployment, "failure", "rolled back")
    assert len(github.deployment_statuses[deployment]) == 1


def test_a_deployment_that_is_live_ends_those_before_it_of_the_same_task_alone(
    github: FakeGitHub, statuses: Statuses
) -> None:
    first = statuses.deploying(DEPLOYMENT)
    failed = statuses.deploying(replace(DEPLOYMENT, commit="b" * 40))
    other = statuses.deploying(replace(DEPLOYMENT, task="deploy:other-model"))
    now_live = replace(DEPLOYMENT, commit="c" * 40)
    newest = statuses.deploying(now_live)
    for deployment in (first, other, newest):
        statuses.report(deployment, "success", "live")
    statuses.report(failed, "failure", "rolled back")
    statuses.retire_others(newest, now_live)
    statuses.retire_others(newest, now_live)
    states = {number: [s["state"] for s in reported] for number, reported in github.deployment_statuses.items()}
    assert states == {
        first: ["success", "inactive"],
        failed: ["failure"],
        other: ["success"],
        newest: ["success"],
    }


def test_many_failures_hide_no_deployment_that_was_live_before_them(github: FakeGitHub, statuses: Statuses) -> None:
    first = statuses.deploying(DEPLOYMENT)
    statuses.report(first, "success", "live")
    for number in range(12):
        failed = statuses.deploying(replace(DEPLOYMENT, commit=f"{number:040x}"))
        statuses.report(failed, "failure", "rolled back")
    now_live = replace(DEPLOYMENT, commit="c" * 40)
    newest = statuses.deploying(now_live)
    statuses.report(newest, "success", "live")
    statuses.retire_others(newest, now_live)
    assert [s["state"] for s in github.deployment_statuses[first]] == ["success", "inactive"]
