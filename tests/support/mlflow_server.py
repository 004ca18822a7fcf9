"""Real MLflow servers for tests, and versions with real artifacts that nobody had to train."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 90  # a busy machine imports MLflow slowly

# One process in place of the two of `mlflow server`: half the start-up time, and nothing to orphan.
APP = "mlflow.server.fastapi_app:app"
AUTH_APP = "mlflow.server.auth:create_app"


@dataclass(frozen=True, slots=True)
class AuthServer:
    """An MLflow server that answers nobody without this name and password."""

    url: str
    username: str
    password: str


@contextmanager
def running_mlflow(directory: Path, **environ: str) -> Iterator[str]:
    """Run an MLflow server on a free loopback port, with its database and artifacts below ``directory``.

    Yields its base URL once it answers. ``environ`` is added to its environment; ``PINRAIL_TEST_APP`` in it
    chooses another ASGI application than plain MLflow.
    """
    app = environ.pop("PINRAIL_TEST_APP", APP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = directory / "mlflow.log"
    settings = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{directory}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(directory / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **environ,
    }
    factory = ["--factory"] if app == AUTH_APP else []
    argv = [sys.executable, "-m", "uvicorn", *factory, "--host", "127.0.0.1", "--port", str(port), app]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            argv, env={**os.environ, **settings}, cwd=directory, stdout=sink, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for_health(process, url, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_auth_mlflow(directory: Path) -> Iterator[AuthServer]:
    """Run an MLflow server with its own basic-auth app; its admin is in the answer."""
    config = directory / "auth.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{directory}/auth.db\n"
        "admin_username = admin\nadmin_password = correct-horse-battery\nauth_cache_ttl_seconds = 60\n"
    )
    environ = {
        "PINRAIL_TEST_APP": AUTH_APP,
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-tests",
    }
    with running_mlflow(directory, **environ) as url:
        yield AuthServer(url, "admin", "correct-horse-battery")


def register_version(client: Any, model: str, files: Mapping[str, str | bytes]) -> int:
    """Register a version of ``model`` whose artifacts are ``files``, in a run of its own, and return its number.

    ``client`` is an ``MlflowClient``; the registered model is made where it does not exist.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run = client.create_run("0", run_name="registered by a test")
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in files.items():
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        client.log_artifacts(run.info.run_id, scratch, "model")
    client.update_run(run.info.run_id, status="FINISHED")
    source = f"{run.info.artifact_uri}/model"
    version = client.create_model_version(model, source, run.info.run_id, await_creation_for=0)
    return int(version.version)


def _wait_for_health(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            # Not listening yet; waiting on the process itself notices at once when it dies.
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
    raise RuntimeError(f"MLflow did not start at {url}:\n{log.read_text()[-4000:]}")
