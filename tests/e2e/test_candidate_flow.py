"""From the registry to traffic without a person: a real receiver, registry and git, and GitHub by its book."""

import copy
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.git_repos import Origin
from tests.support.github_server import FakeGitHub, serving
from tests.support.github_spec import require_description, webhook_example
from tests.support.ports import free_port
from tests.support.receiver_program import Receiver, serving_version
from tests.support.trained import train_into
from tests.support.waiting import eventually

require_description()

MODEL = "flow-churn"


def staging(version: int, port: int) -> str:
    return (
        "environment: staging\nregistry: {stage: Staging, alias: staging}\npolicy: {auto: merge}\n"
        "gate: {accuracy: {min: 0.5}}\nmodels:\n"
        f"  {MODEL}:\n    version: {version}\n    port: {port}\n"
        "    override: {version: 1, reason: the first one has nothing to be compared with}\n"
    )


@pytest.mark.long
def test_a_version_that_passes_the_gate_is_proposed_planned_merged_and_served(
    mlflow_server: str, tmp_path: Path
) -> None:
    train_into(mlflow_server, MODEL)
    origin, port = Origin(tmp_path / "git"), free_port()
    origin.commit({"environments/staging.yaml": staging(1, port)})
    repository = f"{origin.path.parent.name}/{origin.path.stem}"
    github = FakeGitHub(repository, origin)
    with serving(github):
        receiver = Receiver(tmp_path, github, mlflow_server)  # only webhooks are heard
        with receiver.running(tmp_path):
            eventually(lambda: serving_version(port) == 1, 60)

            train_into(mlflow_server, MODEL)
            receiver.registry({"entity": "model_version", "action": "created", "data": {"name": MODEL}})
            eventually(lambda: github.pulls, 60)
            ((number, pull),) = github.pulls.items()
            assert pull["title"] == f"Promote {MODEL} v2 to staging (was v1)"

            payload = copy.deepcopy(webhook_example("pull_request", "opened"))
            payload["repository"]["full_name"] = repository
            payload["pull_request"]["base"]["ref"] = "main"
            receiver.github("pull_request", payload)
            eventually(lambda: pull["merged"], 30)
            (comment,) = [c["shown"]["body"] for c in github.comments.values() if c["on"] == number]
            assert "### Pinrail plan: ✅ can be merged" in comment
            assert "Signature" in comment
            head = origin.head(f"refs/heads/{pull['head']}")
            plans = [s["state"] for s in github.statuses if s["sha"] == head and s["context"] == "pinrail/plan"]
            assert plans == ["success"]

            push = {"ref": "refs/heads/main", "repository": {"full_name": repository}, "commits": []}
            receiver.github("push", push)
            eventually(lambda: serving_version(port) == 2, 60)
    assert MlflowClient(mlflow_server).get_registered_model(MODEL).aliases == {"staging": "2"}
