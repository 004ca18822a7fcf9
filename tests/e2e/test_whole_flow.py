"""The whole flow as users see it: candidate, pull requests, plans, soak, merges, a bad version, its revert.

Receiver, registry, git, model servers and command line are real; GitHub is a local server that judges every call by
GitHub's own description. Run with ``-s`` for a transcript with the time of each step.
"""

import copy
import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from mlflow import MlflowClient

from ml.evaluate import EvaluationRequest, evaluate
from ml.evaluation.candidate import Candidate
from ml.evidence_key import own_key
from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.pulls import Pulls
from receiver.cli.demo.broken import register_broken
from serving.model.loader import Cache
from tests.support import command_line
from tests.support.git_repos import Origin
from tests.support.github_server import TOKEN, FakeGitHub, serving
from tests.support.github_spec import require_description, webhook_example
from tests.support.ports import free_port
from tests.support.receiver_program import Receiver, serving_version
from tests.support.trained import train_into
from tests.support.waiting import eventually

require_description()

MODEL = "whole-flow"
SOAK_SECONDS = 4


class PromotionScenario:
    """One repository on GitHub, one registry, one receiver, and a person."""

    def __init__(self, directory: Path, mlflow: str) -> None:
        self.mlflow, self.ports = mlflow, {"staging": free_port(), "production": free_port()}
        self.origin = Origin(directory / "git")
        self.origin.commit({f"environments/{name}.yaml": self.text(name) for name in self.ports})
        self.github = FakeGitHub(f"{self.origin.path.parent.name}/{self.origin.path.stem}", self.origin)
        self.began = time.monotonic()

    def text(self, name: str) -> str:
        policy = f"policy: {{after: staging, soak: {SOAK_SECONDS}s}}\n" if name == "production" else ""
        override = ", override: {version: 3, reason: it must be seen to fail}" if name == "staging" else ""
        return (
            f"environment: {name}\nregistry: {{stage: {name.title()}, alias: {name}}}\n{policy}"
            "gate: {accuracy: {min: 0.5}}\n"
            f"models:\n  {MODEL}: {{version: 1, port: {self.ports[name]}{override}}}\n"
        )

    def say(self, text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self.began:6.1f} s  {text}\n")

    def statuses(self, context: str, commit: str) -> list[str]:
        return [s["state"] for s in self.github.statuses if (s["sha"], s["context"]) == (commit, context)]


@contextmanager
def running_scenario(directory: Path, mlflow: str) -> Iterator[tuple[PromotionScenario, Receiver, Pulls]]:
    scenario = PromotionScenario(directory, mlflow)
    with serving(scenario.github):
        receiver = Receiver(directory, scenario.github, mlflow, poll_seconds=2, stabilise=1.5)
        pulls = Pulls(GitHubClient(scenario.github.repository, TOKEN, scenario.github.url))
        with receiver.running(directory):
            yield scenario, receiver, pulls


def first_version(scenario: PromotionScenario, directory: Path, state: Path) -> None:
    """Train, and gate for both environments, as ``python -m ml.train | python -m ml.evaluate`` does."""
    environments = directory / "work" / "environments"
    environments.mkdir(parents=True)
    for name in scenario.ports:
        (environments / f"{name}.yaml").write_text(scenario.text(name))
    trained = train_into(scenario.mlflow, MODEL)
    with mock.patch.dict(os.environ, MLFLOW_TRACKING_URI=scenario.mlflow):
        evaluate(EvaluationRequest(Candidate(MODEL, 1, trained.run_id), "staging", environments, key=own_key(state)))


def promote(receiver: Receiver, directory: Path, version: int, environment: str) -> int:
    """``pinrail promote`` as a person runs it; returns the pull request's number."""
    arguments = ["promote", MODEL, "--version", str(version), "--to", environment, "--json"]
    done = command_line.run(arguments, receiver.environment, directory)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["pull_request"].rpartition("/")[2])


def merge(scenario: PromotionScenario, receiver: Receiver, pulls: Pulls, number: int) -> str:
    """The green button, and GitHub's push webhook; returns the merge commit."""
    pull = pulls.get(number)
    pulls.merge(pull, pull.title)
    receiver.github(
        "push", {"ref": "refs/heads/main", "repository": {"full_name": scenario.github.repository}, "commits": []}
    )
    return scenario.origin.head("refs/heads/main")


def opened(scenario: PromotionScenario) -> dict[str, Any]:
    payload = copy.deepcopy(webhook_example("pull_request", "opened"))
    payload["repository"]["full_name"] = scenario.github.repository
    payload["pull_request"]["base"]["ref"] = "main"
    return payload


def states(receiver: Receiver) -> set[str]:
    """What the dashboard says of every slot."""
    with urllib.request.urlopen(f"http://127.0.0.1:{receiver.admin}/api/environments", timeout=10) as answer:
        return {row["state"] for row in json.load(answer)["environments"]}


def plan_becomes(scenario: PromotionScenario, number: int, state: str) -> None:
    head = scenario.origin.head(f"refs/heads/{scenario.github.pulls[number]['head']}")
    eventually(lambda: scenario.statuses("pinrail/plan", head)[-1:] == [state], 60)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_from_a_candidate_to_production_and_back_from_a_bad_version(mlflow_server: str, tmp_path: Path) -> None:
    with running_scenario(tmp_path, mlflow_server) as (scenario, receiver, pulls):
        staging, production = scenario.ports["staging"], scenario.ports["production"]
        first_version(scenario, tmp_path, receiver.state)
        eventually(lambda: (serving_version(staging), serving_version(production)) == (1, 1), 90)
        scenario.say("version 1 is trained, gated and live in staging and production")

        train_into(mlflow_server, MODEL)
        receiver.registry({"entity": "model_version", "action": "created", "data": {"name": MODEL}})
        scenario.say("version 2 is trained and registered; MLflow's webhook is delivered")
        eventually(lambda: scenario.github.pulls, 90)
        ((number, pull),) = scenario.github.pulls.items()
        scenario.say(f"#{number} is open: {pull['title']}")
        receiver.github("pull_request", opened(scenario))
        plan_becomes(scenario, number, "success")
        scenario.say("its plan is a comment, and pinrail/plan is success")
        commit = merge(scenario, receiver, pulls, number)
        eventually(lambda: serving_version(staging) == 2, 60)
        scenario.say("merged: staging serves version 2")
        eventually(lambda: scenario.statuses("pinrail/staging", commit)[-1:] == ["success"], 60)

        number = promote(receiver, tmp_path, 2, "production")
        receiver.github("pull_request", opened(scenario))
        scenario.say(f"#{number} is open: {scenario.github.pulls[number]['title']}")
        plan_becomes(scenario, number, "success")
        scenario.say("the soak is over: pinrail/plan is success, by itself")
        commit = merge(scenario, receiver, pulls, number)
        eventually(lambda: serving_version(production) == 2, 60)
        eventually(lambda: scenario.statuses("pinrail/production", commit)[-1:] == ["success"], 60)
        scenario.say("merged: production serves version 2, and its commit says so")

        artifacts = Cache(tmp_path / "cache", mlflow_server).fetch(MODEL, 1).path
        assert register_broken(MlflowClient(mlflow_server), MODEL, artifacts) == 3
        number = promote(receiver, tmp_path, 3, "staging")
        scenario.say(f"#{number} is open: {scenario.github.pulls[number]['title']}, let past the gate by an override")
        before = set(scenario.github.pulls)
        commit = merge(scenario, receiver, pulls, number)
        eventually(lambda: scenario.statuses("pinrail/staging", commit)[-1:] == ["failure"], 90)
        assert serving_version(staging) == 2
        scenario.say("merged: version 3 failed under watch, staging serves version 2 again, the commit says failure")
        eventually(lambda: set(scenario.github.pulls) - before, 60)
        (number,) = set(scenario.github.pulls) - before
        scenario.say(f"#{number} is open: {scenario.github.pulls[number]['title']}")
        assert "broken on purpose" in scenario.github.pulls[number]["body"]
        merge(scenario, receiver, pulls, number)
        eventually(lambda: states(receiver) == {"in sync"}, 60)
        scenario.say("merged: git, registry and servers agree")
        assert (serving_version(staging), serving_version(production)) == (2, 2)
    assert MlflowClient(mlflow_server).get_registered_model(MODEL).aliases == {"staging": "2", "production": "2"}
    assert scenario.github.problems == []
    calls = sorted({call.partition("?")[0] for call in scenario.github.calls})
    scenario.say(f"{len(scenario.github.calls)} calls to GitHub, judged by its own description, none rejected:")
    for call in calls:
        sys.stdout.write(f"          {call}\n")
