import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ml.environment.file import parse_environment
from ml.train import TrainResult
from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.cli.doctor import registry
from receiver.core.errors import Rejected, Retryable
from serving.model.loader import Cache
from tests.support.git_repos import STAGING
from tests.support.mlflow_server import AuthServer
from tests.support.ports import free_port

STAGED = parse_environment(STAGING.encode(), "environments/staging.yaml")
UNSTAGED = parse_environment(STAGING.replace("stage: Staging, ", "").encode(), "environments/staging.yaml")


class Stageless(BaseHTTPRequestHandler):
    """A registry that has dropped stages: the endpoint is not there."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"error_code": "ENDPOINT_NOT_FOUND", "message": "no such endpoint"}).encode()
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stageless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stageless)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_registry_that_answers_shows_its_version(mlflow_server: str) -> None:
    check = registry.reachable(mlflow_server)
    assert check.ok
    assert "answers, MLflow 3." in check.found


def test_a_registry_that_refuses_us_or_is_not_there_says_so(mlflow_auth_server: AuthServer) -> None:
    with pytest.raises(Rejected, match="MLFLOW_TRACKING_TOKEN"):
        registry.reachable(mlflow_auth_server.url)
    with pytest.raises(Retryable, match=r"cannot be reached \(Connection refused\): start it, or .*TRACKING_URI$"):
        registry.reachable(f"http://127.0.0.1:{free_port()}")


def test_a_registry_behind_a_login_is_reached_with_name_and_password(
    mlflow_auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", mlflow_auth_server.username)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", mlflow_auth_server.password)
    assert registry.reachable(mlflow_auth_server.url).ok
    assert registry.stages(mlflow_auth_server.url, [STAGED]).ok


def test_stages_are_there_or_not_needed_or_missed(mlflow_server: str, stageless: str) -> None:
    assert registry.stages(mlflow_server, [STAGED]).found == "there, for staging"
    assert registry.stages(stageless, [UNSTAGED]).ok
    missed = registry.stages(stageless, [STAGED])
    assert (missed.ok, "take `stage` out" in missed.todo) == (False, True)


def test_artifacts_of_a_pinned_version_are_read(mlflow_server: str, trained: TrainResult, tmp_path: Path) -> None:
    real = MlflowRegistry(mlflow_server, Cache(tmp_path, mlflow_server))
    found = registry.artifacts(real, trained.model, int(trained.model_version))
    assert found.found == f"artifacts readable, {trained.digest[:19]}"
    with pytest.raises(Rejected, match="has version"):
        registry.artifacts(real, trained.model, 4711)


def test_a_version_is_not_called_bad_because_the_registry_is_away(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    check = registry.artifacts(MlflowRegistry(uri, Cache(tmp_path, uri)), "churn-model", 1)
    assert (check.ok, "registry's line" in check.todo, "register" in check.todo) == (False, True, False)
