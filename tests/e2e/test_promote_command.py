"""``pinrail promote`` and ``pinrail rollback`` as a person runs them: real registry, real git, a GitHub beside."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ml.train import TrainResult
from receiver.__main__ import main
from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.pulls import Pulls
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.state_lock import exclusive
from receiver.core.deployment import Cause, Draft, Outcome
from receiver.core.state import Slot
from tests.support.git_repos import Origin
from tests.support.github_server import TOKEN, FakeGitHub, serving
from tests.support.github_spec import require_description
from tests.support.waiting import eventually

require_description()

STAGING = """\
environment: staging
registry: {stage: Staging, alias: staging}
gate: {}
models:
  shared-churn: {version: 99, port: 8000}
"""
PROMOTE = ("promote", "shared-churn", "--version", "1", "--to", "staging")


@pytest.fixture
def github(
    tmp_path: Path, mlflow_server: str, trained: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeGitHub]:
    assert trained.model_version == "1"
    origin = Origin(tmp_path / "octo")
    origin.commit({"environments/staging.yaml": STAGING})
    github = FakeGitHub("octo/origin", origin)
    with serving(github) as url:
        monkeypatch.setenv("PINRAIL_REPO_URL", origin.url)
        monkeypatch.setenv("PINRAIL_STATE_DIR", str(tmp_path / "state"))
        monkeypatch.setenv("PINRAIL_TARGET", "process")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.setenv("GITHUB_API_URL", url)
        yield github


def pinrail(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["pinrail", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_a_promotion_becomes_a_pull_request_with_what_the_registry_knows(
    github: FakeGitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pinrail(monkeypatch, *PROMOTE, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    (number,) = github.pulls
    assert said["pull_request"] == f"https://github.com/octo/origin/pull/{number}"
    assert said["branch"] == "promote/shared-churn-v1-to-staging"
    body = github.pulls[number]["body"]
    assert "| accuracy | - | 0.8" in body
    assert "| param regularisation | - | <code>1.0</code> |" in body
    assert "| data version | - | <code>telco-churn-1</code> |" in body
    assert "> v99: the registry does not have it" in body
    assert "127.0.0.1" not in body
    assert pinrail(monkeypatch, *PROMOTE) == 0
    assert f"pull request: https://github.com/octo/origin/pull/{number}" in capsys.readouterr().out
    assert len(github.pulls) == 1


def test_a_refusal_exits_with_1_and_the_reason(
    github: FakeGitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pinrail(monkeypatch, "promote", "shared-churn", "--version", "77", "--to", "staging") == 1
    assert "shared-churn has version" in capsys.readouterr().err
    assert github.calls == []


def wait_for(github: FakeGitHub, then: Callable[[int], None]) -> threading.Thread:
    """Do something once the pull request is open, beside the command that waits for it."""

    def act() -> None:
        eventually(lambda: bool(github.pulls), 30)
        then(next(iter(github.pulls)))

    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.parametrize(("outcome", "code"), [(Outcome.LIVE, 0), (Outcome.ROLLED_BACK, 1)])
def test_who_waits_gets_to_know_how_it_ended(  # noqa: PLR0917 - pytest's fixtures
    github: FakeGitHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: Outcome,
    code: int,
) -> None:
    monkeypatch.setattr("receiver.cli.waiting.MERGE_SECONDS", 0.1)
    slot = Slot("staging", "shared-churn")

    def merge_and_deploy(number: int) -> None:
        Pulls(GitHubClient(github.repository, TOKEN, url)).merge(github_pull(number), "Promote")
        journal = SqliteJournal(Database(tmp_path / "state" / "pinrail.db"))
        for state in (Outcome.INTERRUPTED, outcome):
            journal.close(journal.open(Draft(slot, 99, 1, None, "c" * 40, Cause.read("push"))), state)

    url = os.environ["GITHUB_API_URL"]
    github_pull = Pulls(GitHubClient(github.repository, TOKEN, url)).get
    thread = wait_for(github, merge_and_deploy)
    with exclusive(tmp_path / "state"):
        assert pinrail(monkeypatch, *PROMOTE, "--wait", "--timeout", "60", "--json") == code
    thread.join()
    said = capsys.readouterr()
    assert json.loads(said.out)["outcome"] == outcome
    assert "merged; waiting for the deployment of staging/shared-churn v1" in said.err


def test_a_pull_request_that_is_closed_ends_the_wait(
    github: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("receiver.cli.waiting.MERGE_SECONDS", 0.1)
    pulls = Pulls(GitHubClient(github.repository, TOKEN, os.environ["GITHUB_API_URL"]))
    thread = wait_for(github, lambda number: pulls.close(number, "no"))
    with exclusive(tmp_path / "state"):
        assert pinrail(monkeypatch, *PROMOTE, "--wait") == 1
        thread.join()
        assert "was closed" in capsys.readouterr().err
        assert pinrail(monkeypatch, *PROMOTE, "--wait", "--timeout", "0") == 1
    assert "is not merged yet" in capsys.readouterr().err
    assert pinrail(monkeypatch, *PROMOTE, "--wait") == 1
    assert "no receiver runs on" in capsys.readouterr().err


def test_without_a_token_the_branch_is_pushed(
    github: FakeGitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    assert pinrail(monkeypatch, *PROMOTE) == 0
    assert "pushed: promote/shared-churn-v1-to-staging at " in capsys.readouterr().out
    assert github.origin is not None
    assert "promote/shared-churn-v1-to-staging" in github.origin.branches()
    assert github.calls == []


def test_a_rollback_becomes_a_pull_request_back_to_what_was_verified(
    github: FakeGitHub,
    trained: TrainResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = SqliteJournal(Database(tmp_path / "state" / "pinrail.db"))
    for version, digest in ((1, trained.digest), (99, "sha256:gone")):
        draft = Draft(Slot("staging", "shared-churn"), None, version, digest, "c" * 40, Cause.read("push"))
        journal.close(journal.open(draft), Outcome.LIVE)
    assert pinrail(monkeypatch, "rollback", "staging", "shared-churn", "--reason", "wrong answers") == 0
    assert "Roll shared-churn back to v1 in staging (was v99)" in capsys.readouterr().out
    (pull,) = github.pulls.values()
    assert "**Why**: wrong answers" in pull["body"]
