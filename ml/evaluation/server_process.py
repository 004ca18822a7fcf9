"""Start a model server of its own, as the receiver would, and see what one row costs there."""

import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ml.errors import MlError
from ml.gates.subject import Record, Served
from serving.lifecycle import launch
from serving.lifecycle.control import ControlError, ask

START_SECONDS = 60.0
POLL_SECONDS = 0.05
STOP_SECONDS = 10.0
ANSWER_SECONDS = 30.0
WARM_UP = 20
ROWS = 300
ENOUGH_ROWS = 60  # of a model so slow that 300 would take longer than ENOUGH_SECONDS
ENOUGH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Artifacts:
    """One version in a content-addressed cache."""

    model: str
    version: int
    digest: str
    cache: Path


def measure(artifacts: Artifacts, records: Sequence[Record]) -> Served:
    """Serve the version in a process of its own and ask it one row at a time over one connection.

    MlError: it does not come up, or does not answer a row.
    """
    with running(artifacts) as status:
        with _connected(status["private_url"]) as connection:
            health = _asked(connection, "GET", "/health", None)
            took = _time_rows(connection, [records[i % len(records)] for i in range(WARM_UP + ROWS)])
        memory = resident_mb(int(status["pid"]))
    p50, p95 = (float(p) * 1000 for p in np.percentile(took[WARM_UP:], [50, 95]))
    return Served(
        p50_ms=p50, p95_ms=p95, rows=len(took) - WARM_UP, memory_mb=memory, runtime=str(health.get("runtime", ""))
    )


@contextlib.contextmanager
def running(artifacts: Artifacts) -> Iterator[dict[str, Any]]:
    """Yield the status of a healthy server, which ends with this context. MlError: it does not come up."""
    with tempfile.TemporaryDirectory(prefix="pinrail-gate-") as directory:
        control, log = Path(directory) / "control", Path(directory) / "log"
        identity = {
            "model": artifacts.model,
            "version": artifacts.version,
            "digest": artifacts.digest,
            "environment": "gate",
            "revision": "gate",
        }
        # As production's servers, but without the registry's credentials: a model is somebody else's code.
        environment = launch.environment(os.environ, registry=False)
        command = [*launch.COMMAND, *launch.options(identity, artifacts.cache, control)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            yield _healthy(process, control, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _healthy(process: "subprocess.Popen[bytes]", control: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, ControlError):  # not there yet
            status, _ = ask(control, {"do": "status"})
            if status.get("ready"):
                return status
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
    ended = "ended" if process.poll() is not None else f"was not healthy within {START_SECONDS:g} s"
    words = log.read_text(errors="replace").strip()[-1000:]
    raise MlError(f"the server of this version {ended}: {words or 'it said nothing'}")


@contextlib.contextmanager
def _connected(url: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS)
    try:
        yield connection
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise MlError(f"the server of this version does not answer: {error!r}") from error
    finally:
        connection.close()


def _time_rows(connection: http.client.HTTPConnection, records: Sequence[Record]) -> list[float]:
    took: list[float] = []
    for record in records:
        if len(took) >= WARM_UP + ENOUGH_ROWS and sum(took) > ENOUGH_SECONDS:
            break
        body = json.dumps(_present(record))
        start = time.perf_counter()
        _asked(connection, "POST", "/predict", body)
        took.append(time.perf_counter() - start)
    return took


def _asked(connection: http.client.HTTPConnection, method: str, path: str, body: str | None) -> dict[str, Any]:
    connection.request(method, path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != http.HTTPStatus.OK:
        raise MlError(f"the server of this version answers {method} {path} with {response.status}: {answer[:300]!r}")
    found: dict[str, Any] = json.loads(answer)
    return found


def _present(record: Record) -> Mapping[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


def resident_mb(pid: int) -> float:
    """Return a process's resident memory in megabytes, from /proc where there is one, else from ps."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    done = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)],  # noqa: S607 - macOS and BSD keep it in different places
        capture_output=True,
        check=False,
        text=True,
        timeout=STOP_SECONDS,
    )
    return int(done.stdout.strip() or 0) / 1024
