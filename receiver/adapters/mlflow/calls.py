"""One call to MLflow: it ends within a deadline, and its errors say what to do next.

MLflow's client waits 120 s for a silent server, retries seven times, waits for ever where a byte arrives now and
then, and repeats writes blindly. Here it tries once, and the caller decides about a retry.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ml.errors import EvidenceError
from receiver.adapters.time_limit import at_most
from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.redact import Redactor
from serving.model.deadline import begin

T = TypeVar("T")

CALL_SECONDS = 10.0
LIST_SECONDS = 30.0  # a thousand models on a busy server
READ_TRIES = 2  # a kept-alive connection may have died since it was last used
READ_PAUSE = 0.2
MESSAGE_LENGTH = 300

CREDENTIALS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN")
UNAUTHORISED = frozenset({"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"})
MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
INVALID = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"})
NO_API = frozenset({"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"})
UNSUPPORTED_TEXT = "is unsupported for models in the Unity Catalog"  # an error without a code of its own

CLIENT_ERROR = re.compile(r"\b(40[134]) Client Error\b")

# Bounds the calls that have not ended, also after their deadline: each holds a thread until the server answers.
abandoned_calls = threading.BoundedSemaphore(32)


class Missing(Rejected):
    """The model, version or alias that was asked for is not registered."""


class Invalid(Rejected):
    """The registry does not understand the request."""


class Unsupported(Rejected):
    """The server has no such endpoint: it is no MLflow server, or a registry without this feature."""


def configure() -> None:
    """Turn off the MLflow client's own retries and long timeouts, in this process."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = f"{LIST_SECONDS:.0f}"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # progress bars fill a log


def read(call: Callable[[], T], uri: str, seconds: float) -> T:
    """Make a call that only reads, with one retry, within ``seconds``. Raises as :func:`once` does."""
    seconds = at_most(seconds)
    deadline = time.monotonic() + seconds
    for _ in range(READ_TRIES - 1):
        try:
            return once(call, uri, seconds)
        except Retryable:
            if time.monotonic() + READ_PAUSE > deadline:
                raise
            time.sleep(READ_PAUSE)
    return once(call, uri, deadline - time.monotonic())


def once(call: Callable[[], T], uri: str, seconds: float) -> T:
    """Make the call and return what it returns, within ``seconds``.

    Raises:
        Retryable: no answer in time, or a temporary failure. A write may have taken effect or not.
        Missing: the registry does not have it.
        Unsupported: the registry has no such endpoint.
        Rejected: the request is invalid, or our credentials are not accepted.
    """
    slot = abandoned_calls
    if not slot.acquire(blocking=False):
        raise Retryable(f"MLflow at {_shown(uri)} has not answered many earlier requests: restart it if it hangs")
    future = begin(call, "mlflow-call")
    future.add_done_callback(lambda _: slot.release())
    try:
        return future.result(seconds)
    except (PinrailError, EvidenceError):
        raise
    except Exception as error:
        if not future.done():
            raise Retryable(f"MLflow at {_shown(uri)} did not answer within {seconds:.3g} s") from error
        raise translate(error, uri) from error


def translate(error: BaseException, uri: str) -> PinrailError:
    """Map an error of MLflow's client to one of ours."""
    # Our packages wrap MLflow's errors; the cause has the status.
    source = error.__cause__ if error.__cause__ is not None and not hasattr(error, "error_code") else error
    code, status = getattr(source, "error_code", ""), _status(source)
    where, said = f"MLflow at {_shown(uri)}", shown(str(source))
    if code in UNAUTHORISED or status in (401, 403):
        return Rejected(
            f"{where} does not accept our credentials ({said}): set MLFLOW_TRACKING_TOKEN, or "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; some hosts want a token as both"
        )
    if code in NO_API or UNSUPPORTED_TEXT in said:
        return Unsupported(f"{where} has no such endpoint ({said}): does MLFLOW_TRACKING_URI name an MLflow server?")
    if code in MISSING or status == 404 or isinstance(source, FileNotFoundError):  # noqa: PLR2004 - HTTP's
        return Missing(f"{where} does not have it: {said}")
    if code in INVALID:
        return Invalid(f"{where} calls the request invalid: {said}")
    unreached = _unreached(source)
    if unreached:
        return Retryable(f"{where} cannot be reached ({unreached}): start it, or correct MLFLOW_TRACKING_URI")
    return Retryable(f"{where} cannot answer now: {said}")


def shown(text: str) -> str:
    """The text as one short line without our credentials."""
    secrets = [os.environ[name] for name in CREDENTIALS if os.environ.get(name)]
    line = Redactor(secrets).line(text)
    return line if len(line) <= MESSAGE_LENGTH else line[:MESSAGE_LENGTH] + "…"


def _shown(uri: str) -> str:
    return Redactor().line(uri)


def _unreached(error: BaseException) -> str | None:
    """Why there was no connection, as the system says it: MLflow's client wraps that in four other errors."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | socket.gaierror) and cause.strerror:
            return str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return None


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error of the library with which MLflow downloads artifacts."""
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and (said := CLIENT_ERROR.search(str(error))):  # several errors, joined into one text
        status = int(said[1])
    return status
