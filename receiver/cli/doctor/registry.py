"""The registry: whether it answers, has stages, and serves the pinned artifacts."""

import inspect
import uuid
from collections.abc import Sequence
from typing import Any

from ml.environment.file import Environment
from receiver.adapters.mlflow import calls as mlflow_call
from receiver.adapters.mlflow.calls import CALL_SECONDS, Unsupported
from receiver.cli.doctor.check import Check
from receiver.core.errors import Rejected, Retryable
from receiver.core.redact import Redactor
from receiver.ports import Registry


def reachable(uri: str) -> Check:
    """The registry answers with our credentials; with its version if it states one."""
    client = _client(uri)
    mlflow_call.read(lambda: client.search_registered_models(max_results=1), uri, CALL_SECONDS)
    version = mlflow_call.read(lambda: _version(uri), uri, CALL_SECONDS)
    return Check("registry", ok=True, found=f"{Redactor().line(uri)} answers, {version}")


def stages(uri: str, environments: Sequence[Environment]) -> Check:
    """The registry has stages if an environment names one."""
    named = [environment.name for environment in environments if environment.stage is not None]
    if not named:
        return Check("stages", ok=True, found="not needed: no environment names one; aliases are enough")
    client = _client(uri)
    move = inspect.unwrap(type(client).transition_model_version_stage)
    nobody = f"pinrail-doctor-{uuid.uuid4().hex}"  # no such model: the call is answered and changes nothing
    try:
        mlflow_call.once(lambda: move(client, nobody, "1", "Staging"), uri, CALL_SECONDS)
    except Unsupported:
        todo = f"take `stage` out of `registry` in the files of {', '.join(named)}; the alias is what counts"
        return Check("stages", ok=False, found="this registry has no stages", todo=todo)
    except Rejected:
        pass  # it searched for the model, so it supports stages
    return Check("stages", ok=True, found=f"there, for {', '.join(named)}")


def artifacts(registry: Registry, model: str, version: int) -> Check:
    """A pinned version is READY and its artifacts can be read; they are in the cache afterwards."""
    name = f"{model} v{version}"
    try:
        found = registry.fetch(model, version)
    except Retryable as error:
        todo = "see the registry's line; if that is ok, its artifact store does not answer"
        return Check(name, ok=False, found=str(error), todo=todo)
    return Check(name, ok=True, found=f"artifacts readable, {found.digest[:19]}")


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    mlflow_call.configure()
    return MlflowClient(tracking_uri=uri)


def _version(uri: str) -> str:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    if not uri.startswith("http"):
        return "which has no version"
    answered = http_request(get_default_host_creds(uri), "/version", "GET", raise_on_status=False)
    text = str(answered.text).strip()
    # A hosted registry may answer with a web page of its own.
    return f"MLflow {text}" if answered.ok and text[:1].isdigit() and len(text) < 40 else "its version is unknown"  # noqa: PLR2004 - a version
