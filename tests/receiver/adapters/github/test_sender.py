import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.dispatcher import Dispatcher
from receiver.adapters.github.sender import GitHubSender
from receiver.adapters.github.statuses import Statuses
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.core.errors import Rejected, Retryable
from receiver.core.messages import GITHUB, CommitStatus, DeploymentOf, DeploymentUpdate
from receiver.core.redact import Redactor
from tests.support.github_server import FakeGitHub, Fault
from tests.support.github_spec import require_description

require_description()

STATUS = CommitStatus("a" * 40, "pinrail/production", "success", "churn-model v6 is live")
OF = DeploymentOf("a" * 40, "production", "deploy:churn-model", "churn-model v6", production=True)
LIVE = DeploymentUpdate(OF, "success", "live and verified", "http://127.0.0.1:8001")


@pytest.fixture
def sender(client: GitHubClient) -> Dispatcher:
    return Dispatcher(GitHubSender(Statuses(client)).handlers(), Redactor())


def stored(message: CommitStatus | DeploymentUpdate) -> dict[str, object]:
    """The message as it is read from the outbox of this release or an earlier one."""
    return {"kind": message.kind, **asdict(message)}


def test_messages_survive_being_written_down(github: FakeGitHub, sender: Dispatcher) -> None:
    for message in (stored(STATUS), stored(LIVE)):
        sender(json.loads(json.dumps(message)))
    assert [status["state"] for status in github.statuses] == ["success"]
    ((update,),) = github.deployment_statuses.values()
    assert (update["state"], update["environment_url"]) == ("success", "http://127.0.0.1:8001")


@pytest.mark.parametrize("message", [stored(STATUS), stored(LIVE)])
def test_whatever_answer_is_lost_delivering_again_shows_it_once(
    github: FakeGitHub, sender: Dispatcher, message: dict[str, object]
) -> None:
    sender(message)
    for lost in range(len(github.calls)):
        for kept in (github.statuses, github.deployments, github.deployment_statuses):
            kept.clear()
        github.faults = [*([None] * lost), Fault(lost=True)]
        with pytest.raises(Retryable):
            sender(message)
        sender(message)
        assert len(github.deployments) <= 1
        assert len(github.statuses) + sum(map(len, github.deployment_statuses.values())) == 1


def test_a_deployment_that_went_live_ends_the_one_before(github: FakeGitHub, sender: Dispatcher) -> None:
    before = DeploymentOf("b" * 40, "production", "deploy:churn-model", "churn-model v4", production=True)
    sender(stored(DeploymentUpdate(before, "success", "live")))
    sender(stored(LIVE))
    states = [[s["state"] for s in update] for update in github.deployment_statuses.values()]
    assert states == [["success", "inactive"], ["success"]]


def test_an_end_that_nothing_follows_ends_what_was_there_and_one_that_is_superseded_does_not(
    github: FakeGitHub, sender: Dispatcher
) -> None:
    before = DeploymentOf("b" * 40, "production", "deploy:churn-model", "churn-model v4", production=True)
    sender(stored(DeploymentUpdate(before, "success", "live")))
    sender(stored(DeploymentUpdate(OF, "inactive", "superseded")))
    assert [update[-1]["state"] for update in github.deployment_statuses.values()] == ["success", "inactive"]
    sender(stored(DeploymentUpdate(OF, "inactive", "removed", ends_others=True)))
    assert [update[-1]["state"] for update in github.deployment_statuses.values()] == ["inactive", "inactive"]


def test_a_message_of_another_kind_is_given_up(sender: Dispatcher) -> None:
    with pytest.raises(Rejected, match="of kind 'poem', allowed deployment, status"):
        sender({"kind": "poem"})


def test_messages_wait_while_the_settings_name_a_repository_that_has_moved(
    github: FakeGitHub, sender: Dispatcher
) -> None:
    location = {"Location": f"{github.url}/repositories/42"}
    github.faults += [Fault(301, location), Fault(200, body=b'{"full_name": "new/pins"}')]
    with pytest.raises(Retryable, match="renamed or moved to new/pins"):
        sender(stored(DeploymentUpdate(OF, "success", "churn-model v6")))


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (Fault(403, headers={"retry-after": "900"}), 900),
        (Fault(429), 60),
        (Fault(401), 300),
    ],
    ids=["rate limit", "secondary rate limit", "token refused"],
)
def test_what_github_says_of_the_token_holds_for_all_messages_and_it_is_not_asked_before_its_time(
    github: FakeGitHub, sender: Dispatcher, monkeypatch: pytest.MonkeyPatch, fault: Fault, seconds: float
) -> None:
    github.faults = [fault, Fault()]
    for message in (stored(STATUS), stored(LIVE)):
        with pytest.raises(Retryable) as caught:
            sender(message)
        assert caught.value.after == pytest.approx(seconds, abs=5)
    assert github.faults == [Fault()], "asked once"
    github.faults.clear()
    later = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: later)
    sender(stored(STATUS))
    assert len(github.statuses) == 1


def test_a_server_error_is_about_one_message_alone(github: FakeGitHub, sender: Dispatcher) -> None:
    github.faults.append(Fault(503, headers={"retry-after": "900"}))
    with pytest.raises(Retryable):
        sender(stored(LIVE))
    sender(stored(STATUS))
    assert len(github.statuses) == 1


def test_all_calls_of_one_delivery_share_its_time(
    github: FakeGitHub, sender: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.adapters.github.dispatcher.DELIVERY_SECONDS", 0.0)
    with pytest.raises(Retryable, match="took longer than 0 s in all"):
        sender(stored(LIVE))
    assert github.calls == []


def test_messages_wait_in_the_outbox_while_github_is_down_and_go_out_in_order(
    github: FakeGitHub, sender: Dispatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = SqliteOutbox(Database(tmp_path / "pinrail.db"))
    for state in ("queued", "in_progress", "success"):
        outbox.put(DeploymentUpdate(OF, state, "churn-model v6"))
    github.faults.append(Fault(503))
    assert outbox.deliver_due({GITHUB: sender}) == 0
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert outbox.deliver_due({GITHUB: sender}) == 3
    ((queued, progress, success),) = github.deployment_statuses.values()
    assert [queued["state"], progress["state"], success["state"]] == ["queued", "in_progress", "success"]
