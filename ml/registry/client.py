"""The MLflow client, with its many errors mapped to one class with a one-line message."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ml.errors import MlError, RegistryError

DEFAULT_MODEL = "churn-model"

# With MLflow's defaults, a command waits for minutes if nothing listens at the address.
BRISK = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}

CREDENTIALS_HINT = (
    "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    " (some hosts want a token as both)"
)


# The names that a pin may use; MLflow itself takes anything, even newlines and quotes.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def model_name(given: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the name that was given, or MODEL_NAME, or the name of the model that this repository trains.

    MlError: a pin cannot use that name.
    """
    name = given or environ.get("MODEL_NAME") or DEFAULT_MODEL
    if NAME.fullmatch(name) is None:
        raise MlError(
            f"{name[:80]!a} is not a valid model name: 1 to 64 letters, digits, dot, hyphen and underscore, a"
            " letter or digit first"
        )
    return name


def configure() -> None:
    """For entry points: fail within seconds if MLflow does not answer, and keep its messages off stdout."""
    for name, value in BRISK.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def without_scheme(uri: str) -> str | None:
    """Say what is wrong with an address that MLflow would take for a folder; None: nothing. Pure."""
    if not re.fullmatch(r"(localhost|[A-Za-z0-9][\w-]*(\.[\w-]+)+|[A-Za-z0-9][\w-]*(?=:\d))(:\d+)?(/\S*)?", uri):
        return None
    return f"found {without_credentials(uri)!r}, allowed a URL: put http:// or https:// in front"


def client() -> Any:
    """Return an MLflow client for MLFLOW_TRACKING_URI. RegistryError: MLflow does not accept that address."""
    from mlflow import MlflowClient

    if wrong := without_scheme(os.environ.get("MLFLOW_TRACKING_URI", "")):
        raise RegistryError(f"MLFLOW_TRACKING_URI: {wrong}")

    with registry_errors():
        return MlflowClient()


@contextmanager
def registry_errors() -> Iterator[None]:
    """Raise RegistryError, with what to do, for any error of MLflow and its libraries."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException, OSError) as error:
        raise RegistryError(explain(str(error), address())) from error


def address() -> str:
    """Return MLflow's address, without credentials."""
    import mlflow

    return without_credentials(mlflow.get_tracking_uri())


def explain(message: str, address: str) -> str:
    """Turn MLflow's message into one line that says what to do about it. Pure."""
    message = without_credentials(re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", " ".join(message.split())))
    if re.search(r"error code (401|403)\b|PERMISSION_DENIED|UNAUTHENTICATED|not authenticated", message):
        return f"MLflow at {address} refused our credentials: {CREDENTIALS_HINT}"
    if failing := re.search(r"too many (5\d\d) error responses|error code (5\d\d)\b", message):
        return (
            f"MLflow at {address} answers {failing[1] or failing[2]}: its log says why (its own basic-auth app"
            " does so if it gets a token instead of a name and password)"
        )
    if re.search(r"Max retries exceeded|Connection refused|NameResolutionError|timed out", message):
        return f"no answer from MLflow at {address}: is it running there? MLFLOW_TRACKING_URI names the address"
    return f"MLflow at {address}: {message[:500]}"


def without_credentials(text: str) -> str:
    """Return the text with ``user:password@`` taken out of every URL."""
    return re.sub(r"(?<=//)[^/@\s]+@", "", text)
