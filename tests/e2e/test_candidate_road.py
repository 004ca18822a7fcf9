"""From the registry to traffic without a person: a real receiver, registry and git, and GitHub by its book."""

import base64
import copy
import hashlib
import hmac
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from receiver.adapters import shell
from receiver.targets.process import ProcessTarget
from tests.support.git_repos import Origin
from tests.support.github_server import TOKEN, FakeGitHub, serving
from tests.support.github_spec import require_description, webhook_example
from tests.support.intake import github_headers
from tests.support.ports import free_port
from tests.support.trained import train_into
from tests.support.waiting import eventually

require_description()

MODEL = "road-churn"
SECRET, MLFLOW_SECRET = "correct horse battery staple", "an mlflow webhook secret"


def staging(version: int, port: int) -> str:
    return (
        "environment: staging\nregistry: {stage: Staging, alias: staging}\npolicy: {auto: merge}\n"
        "gate: {accuracy: {min: 0.5}}\nmodels:\n"
        f"  {MODEL}:\n    version: {version}\n    port: {port}\n"
        "    override: {version: 1, reason: the first one has nothing to be compared with}\n"
    )


class Receiver:
    """``pinrail up`` as a process, and its webhooks."""

    def __init__(self, directory: Path, origin: Origin, github: FakeGitHub, mlflow: str) -> None:
        self.state, self.public, self.admin = directory / "state", free_port(), free_port()
        self.log = directory / "receiver.log"
        self.environment = {
            **shell.scrubbed(os.environ, "GIT_", "MLFLOW_"),
            "PINRAIL_REPO_URL": origin.url,
            "PINRAIL_WEBHOOK_SECRET": SECRET,
            "PINRAIL_MLFLOW_WEBHOOK_SECRET": MLFLOW_SECRET,
            "PINRAIL_STATE_DIR": str(self.state),
            "PINRAIL_TARGET": "process",
            "PINRAIL_STABILISE_SECONDS": "0.2",
            "PINRAIL_POLL_SECONDS": "600",  # only webhooks are heard here
            "PINRAIL_PUBLIC_PORT": str(self.public),
            "PINRAIL_ADMIN_PORT": str(self.admin),
            "MLFLOW_TRACKING_URI": mlflow,
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_API_URL": github.url,
        }

    @contextmanager
    def running(self, directory: Path) -> Iterator[None]:
        argv = [sys.executable, "-m", "receiver", "up", "--tunnel", "none"]
        pid = shell.start(argv, environment=self.environment, directory=directory, log=self.log)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: shell.exit_status(pid) is not None, 30)
            target = ProcessTarget(self.state)
            for server in target.observe():
                target.retire(server)

    def github(self, event: str, payload: dict[str, Any]) -> None:
        body = json.dumps(payload).encode()
        self._post("/webhooks/github", body, github_headers(body, event))

    def registry(self, payload: dict[str, Any]) -> None:
        body, when = json.dumps(payload).encode(), str(int(time.time()))
        signed = hmac.new(MLFLOW_SECRET.encode(), b".".join((b"one", when.encode(), body)), hashlib.sha256).digest()
        headers = {
            "Content-Type": "application/json",
            "X-MLflow-Delivery-Id": "one",
            "X-MLflow-Timestamp": when,
            "X-MLflow-Signature": f"v1,{base64.b64encode(signed).decode()}",
        }
        self._post("/webhooks/mlflow", body, headers)

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.public}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 202


def serving_version(port: int) -> int | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return int(json.load(answer)["version"])
    except OSError:
        return None


def test_a_version_that_passes_the_gate_is_proposed_planned_merged_and_served(
    mlflow_server: str, tmp_path: Path
) -> None:
    train_into(mlflow_server, MODEL)
    origin, port = Origin(tmp_path / "git"), free_port()
    origin.commit({"environments/staging.yaml": staging(1, port)})
    repository = f"{origin.path.parent.name}/{origin.path.stem}"
    github = FakeGitHub(repository, origin)
    with serving(github):
        receiver = Receiver(tmp_path, origin, github, mlflow_server)
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
