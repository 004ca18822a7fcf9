"""``pinrail up`` as a process with every webhook, for tests that go the whole way."""

import base64
import hashlib
import hmac
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from receiver.adapters import shell
from receiver.targets.process.target import ProcessTarget
from tests.support import command_line
from tests.support.github_server import TOKEN, FakeGitHub
from tests.support.intake import github_headers
from tests.support.ports import free_port

SECRET, MLFLOW_SECRET = "correct horse battery staple", "an mlflow webhook secret"


class Receiver:
    """``pinrail up`` as a process, and its webhooks."""

    def __init__(
        self, directory: Path, github: FakeGitHub, mlflow: str, *, poll_seconds: float = 600, stabilise: float = 0.2
    ) -> None:
        self.state, self.public, self.admin = directory / "state", free_port(), free_port()
        self.log = directory / "receiver.log"
        self.environment = {
            **shell.scrubbed(os.environ, "GIT_", "MLFLOW_"),
            "PINRAIL_REPO_URL": github.origin.url if github.origin else "",
            "PINRAIL_WEBHOOK_SECRET": SECRET,
            "PINRAIL_MLFLOW_WEBHOOK_SECRET": MLFLOW_SECRET,
            "PINRAIL_STATE_DIR": str(self.state),
            "PINRAIL_TARGET": "process",
            "PINRAIL_STABILISE_SECONDS": str(stabilise),
            "PINRAIL_POLL_SECONDS": str(poll_seconds),
            "PINRAIL_PUBLIC_PORT": str(self.public),
            "PINRAIL_ADMIN_PORT": str(self.admin),
            "MLFLOW_TRACKING_URI": mlflow,
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_API_URL": github.url,
        }

    @contextmanager
    def running(self, directory: Path) -> Iterator[None]:
        process = command_line.start(["up", "--tunnel", "none"], self.environment, directory, self.log)
        try:
            yield
        finally:
            process.terminate()
            process.join(30)
            assert not process.is_alive(), self.log.read_text()
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
