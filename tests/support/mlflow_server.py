"""Real MLflow servers for tests, and versions with real artifacts that nobody had to train."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver.adapters.mlflow.local_server import running_mlflow

AUTH_APP = "mlflow.server.auth:create_app"
ADMIN = ("admin", "correct-horse-battery")


@dataclass(frozen=True, slots=True)
class AuthServer:
    """An MLflow server that answers nobody without this name and password."""

    url: str
    username: str
    password: str


@contextmanager
def running_auth_mlflow(directory: Path) -> Iterator[str]:
    """Run an MLflow server with its own basic-auth app, whose admin is :data:`ADMIN`; yield its URL."""
    config = directory / "auth.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{directory}/auth.db\n"
        f"admin_username = {ADMIN[0]}\nadmin_password = {ADMIN[1]}\nauth_cache_ttl_seconds = 60\n"
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-tests",
        "UVICORN_FACTORY": "true",
    }
    with running_mlflow(directory, app=AUTH_APP, environment=environment) as url:
        yield url


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
