"""One call to MLflow: over within a deadline, and with errors that say what to do next.

MLflow's client waits 120 s for a silent server, seven times over, and for ever for one that sends a byte now and
then; it also repeats writes blindly. Here it tries once, and the caller decides.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.redact import Redactor

T = TypeVar("T")

CALL_SECONDS = 10.0
LIST_SECONDS = 30.0  # a thousand models on a busy server
READ_TRIES = 2  # a kept-alive connection may have died since it was last used
READ_PAUSE = 0.2
MESSAGE_LENGTH = 300

CREDENTIALS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN")
REFUSED = frozenset({"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"})
MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
WRONG = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"})
NO_API = frozenset({"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"})
NOT_WITH_THIS_REGISTRY = "is unsupported for models in the Unity Catalog"  # an error without a code of its own

CLIENT_ERROR = re.compile(r"\b(40[134]) Client Error\b")

# Calls that outlived their deadline and still hold a thread. A registry that drips must not collect them for ever.
_stuck = threading.BoundedSemaphore(32)


class Missing(Rejected):
    """The model, version or alias that was asked for is not registered."""


class Unsupported(Rejected):
    """What answers is no MLflow, or one that cannot do this."""


def configure() -> None:
    """Keep MLflow's client in this process from waiting and repeating on its own."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = f"{LIST_SECONDS:.0f}"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # no bars in a log


def read(call: Callable[[], T], uri: str, seconds: float) -> T:
    """Ask, once more where that may help, and answer within ``seconds``. Raises as :func:`once` does."""
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
    """Run the call and return what it returns, within ``seconds``.

    Raises:
        Retryable: no answer in time, or one that says "not now". A write may have been done or not.
        Missing: it is not there.
        Unsupported: there is no such endpoint.
        Rejected: MLflow does not accept it, or us.
    """
    if not _stuck.acquire(blocking=False):
        raise Retryable(f"MLflow at {_shown(uri)} still owes the answers to many earlier questions")
    future: Future[T] = Future()
    slot = _stuck
    future.add_done_callback(lambda _: slot.release())
    # A daemon: an answer that never ends must not keep the receiver from ending.
    threading.Thread(target=_fulfil, args=(future, call), daemon=True, name="mlflow-call").start()
    try:
        return future.result(seconds)
    except PinrailError:
        raise
    except Exception as error:
        if not future.done():
            raise Retryable(f"MLflow at {_shown(uri)} did not answer within {seconds:.3g} s") from error
        raise translate(error, uri) from error


def translate(error: BaseException, uri: str) -> PinrailError:
    """Turn what MLflow's client raised into what to do next."""
    # Errors of our own packages stand before MLflow's, which knows the status.
    source = error.__cause__ if error.__cause__ is not None and not hasattr(error, "error_code") else error
    code, status = getattr(source, "error_code", ""), _status(source)
    where, said = f"MLflow at {_shown(uri)}", shown(str(source))
    if code in REFUSED or status in (401, 403):
        return Rejected(
            f"{where} refuses us ({said}): set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD; some hosts want a token as both"
        )
    if code in NO_API or NOT_WITH_THIS_REGISTRY in said:
        return Unsupported(f"{where} has no such endpoint ({said}): does MLFLOW_TRACKING_URI name an MLflow server?")
    if code in MISSING or status == 404 or isinstance(source, FileNotFoundError):  # noqa: PLR2004 - HTTP's
        return Missing(f"{where} does not have it: {said}")
    if code in WRONG:
        return Rejected(f"{where} does not accept it: {said}")
    unreached = _unreached(source)
    if unreached:
        return Retryable(f"{where} cannot be reached ({unreached}): start it, or correct MLFLOW_TRACKING_URI")
    return Retryable(f"{where} cannot answer now: {said}")


def shown(text: str) -> str:
    """One line, short, and without our credentials."""
    secrets = [os.environ[name] for name in CREDENTIALS if os.environ.get(name)]
    line = Redactor(secrets).line(text)
    return line if len(line) <= MESSAGE_LENGTH else line[:MESSAGE_LENGTH] + "…"


def _shown(uri: str) -> str:
    return Redactor().line(uri)


def _unreached(error: BaseException) -> str | None:
    """Why there was no connection, in the system's words: MLflow's client wraps them in four errors of libraries."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | socket.gaierror) and cause.strerror:
            return str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return None


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error of the library that MLflow downloads artifacts with."""
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and (said := CLIENT_ERROR.search(str(error))):  # several of them, told as one text
        status = int(said[1])
    return status


def _fulfil(future: "Future[T]", call: Callable[[], T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - whoever waits for the future is told
        future.set_exception(error)
