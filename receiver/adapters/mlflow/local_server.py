"""A local MLflow server with SQLite, for a first try, the demo and tests: up in half the time of ``mlflow server``.

``mlflow server`` imports MLflow twice, in a parent and in the server that it starts, and leaves the server behind
when the parent is killed. This starts the same application in one process, with the settings that the parent
would hand down.
"""

import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from receiver.adapters import shell
from receiver.core.errors import Rejected, Retryable

APP = "mlflow.server.fastapi_app:app"
START_SECONDS = 90.0  # MLflow imports for 6 s on an idle machine, and for much longer on a busy one
STOP_SECONDS = 10.0
LOG_TAIL = 2000


@contextmanager
def running_mlflow(
    directory: Path, port: int = 0, *, app: str = APP, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run an MLflow server on loopback, with database, artifacts and log below ``directory``; yield its base URL.

    Args:
        directory: made where it does not exist; a database that is there already is used on.
        port: 0 takes any free one.
        app: the ASGI application, or its factory, where it is not plain MLflow.
        environment: more variables for the server.

    Raises:
        Rejected: the port is taken, or MLflow ended at once; with the last lines of its log.
        Retryable: it did not answer within START_SECONDS.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = _free(port)
    log = directory / "mlflow.log"
    argv = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), app]
    pid = shell.start(argv, environment=_settings(directory, environment or {}), directory=directory, log=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(pid, url, log)
        yield url
    finally:
        _stop(pid)


def _free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Rejected(f"port {port} is taken: end what listens there, or give MLflow another") from error
        return int(probe.getsockname()[1])


def _settings(directory: Path, more: Mapping[str, str]) -> dict[str, str]:
    """What ``mlflow server`` hands to the application that it starts, and nothing that slows the start down."""
    return {
        **shell.scrubbed(os.environ),
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{directory.absolute()}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(directory.absolute() / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **more,
    }


def _wait_until_up(pid: int, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        status = shell.exit_status(pid)
        if status is not None:
            tail = log.read_text(errors="replace")[-LOG_TAIL:]
            raise Rejected(f"MLflow ended at once with status {status}; the end of {log}:\n{tail}")
        if answers(url):
            return
        time.sleep(0.05)
    raise Retryable(f"MLflow did not answer at {url} within {START_SECONDS:g} s; its log is {log}")


def answers(url: str) -> bool:
    """MLflow answers at a URL of this machine, and its database is there; or it wants a password."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, whatever proxy is set
    try:
        with opener.open(f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout=10):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in (401, 403)
    except OSError:  # nobody listens yet
        return False


def _stop(pid: int) -> None:
    """End it politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if shell.exit_status(pid) is None:
            os.kill(pid, number)
        deadline = time.monotonic() + STOP_SECONDS
        while shell.exit_status(pid) is None and time.monotonic() < deadline:
            time.sleep(0.02)
