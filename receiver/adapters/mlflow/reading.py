"""Reads of the registry without MLflow's client, whose import takes longer than the rest of ``pinrail status``.

They are the requests that the client makes where nothing but its own credentials shapes them. Whatever is not
answered well is left to the client: it knows every kind of authentication, and its errors are those that we explain.
"""

import os
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from receiver.adapters.mlflow.calls import LIST_SECONDS

API = "/api/2.0/mlflow/"
CREDENTIALS_FILE = Path("~/.mlflow/credentials")
# The client's settings that say who asks, or change nothing here. With any other one, the client is to ask.
UNDERSTOOD = frozenset({
    "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR",
    "MLFLOW_PORT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_DISABLE_TELEMETRY",
})  # fmt: skip


def can_read(uri: str) -> bool:
    """Nothing but credentials in the environment shapes what the client would send there."""
    others = {name for name in os.environ if name.startswith("MLFLOW_")} - UNDERSTOOD
    return urlsplit(uri).scheme in ("http", "https") and not others and not CREDENTIALS_FILE.expanduser().exists()


def read_json(uri: str, path: str, parameters: Mapping[str, object]) -> Any | None:
    """What the registry answers to one GET; None: it could not be read so."""
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        answer = requests.get(
            uri.removesuffix("/") + API + path,
            params={name: str(value) for name, value in given.items()},
            headers=_authorisation(),
            timeout=LIST_SECONDS,
            allow_redirects=False,
        )
        return answer.json() if answer.status_code == requests.codes.ok else None
    except requests.RequestException:  # bytes that are no JSON among them
        return None


def _authorisation() -> Mapping[str, str]:
    name, password, token = (os.environ.get(f"MLFLOW_TRACKING_{key}") for key in ("USERNAME", "PASSWORD", "TOKEN"))
    if name and password:  # as the client encodes them; requests would take Latin-1
        return {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}
