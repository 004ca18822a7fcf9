"""A version in a model server of its own, started as in production and asked over HTTP.

What answers is somebody else's code, and may answer anything, or never: it holds no labels and no credentials, and
its time, memory, output and answers are bounded. Nothing that it says is believed but its answers.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from ml.errors import MlError
from ml.evaluation import guard
from ml.evaluation.asking import SHOWN, ask_rows, printable, request, time_rows
from ml.gates.answers import Answers
from ml.gates.subject import Record, Served
from ml.packages.build import interpreter_of
from ml.packages.store import PackageStore
from serving.lifecycle import launch
from serving.lifecycle.control import ControlError, ask

START_SECONDS = 60.0
WHOLE_SECONDS = 600.0  # from the start to the last answer
POLL_SECONDS = 0.05
STOP_SECONDS = 15.0
ANSWER_SECONDS = 30.0  # without a byte of an answer
OUTPUT_BYTES = 16 << 10  # of what it prints, the last are kept
MEMORY_SHARE = 0.75  # of what is available at the start
LEAST_MB = 1024.0
ENDED = {
    guard.TOO_LARGE: "took more memory than {megabytes:,.0f} MB, three quarters of what was available, and was ended",
    guard.TOO_LONG: "took longer than {seconds:g} s, and was ended",
    guard.TOO_MANY: f"started more than {guard.MOST_PROCESSES} processes, and was ended",
}


@dataclass(frozen=True, slots=True)
class Artifacts:
    """One version in a content-addressed cache."""

    model: str
    version: int
    digest: str
    cache: Path
    packages: PackageStore | None = None  # the environments for versions that need packages; None: only ours

    @property
    def name(self) -> str:
        """As in ``churn-model v6``."""
        return f"{self.model} v{self.version}"

    @property
    def path(self) -> Path:
        """Its files."""
        return self.cache / self.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a version may take."""

    seconds: float
    megabytes: float
    network: bool = False  # may open connections
    confine: bool = True  # reaches its own files, and nothing else


class VersionServer:
    """The running server of one version."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", limits: Limits, address: str) -> None:
        self.name = name
        self.guard_pid = process.pid
        self.classes: tuple[Any, ...] | None = None
        self.runtime = ""
        self.address = address
        self._process = process
        self._limits = limits
        self._printed = _Printed(process.stdout)
        self._connection: http.client.HTTPConnection | None = None

    def predict_records(self, records: Sequence[Record]) -> Answers:
        """Answer rows as a caller would send them. MlError: it refuses one, fails, or gives no valid answer."""
        with self._connected() as connection:
            said = ask_rows(connection, records)
        tables = [part.probabilities for part in said if part.probabilities is not None]
        with self._valid("probabilities that are no table"):
            table = np.array([row for rows in tables for row in rows]) if len(tables) == len(said) else None
            return Answers.of([label for part in said for label in part.predictions], table, self.classes)

    def measure(self, records: Sequence[Record]) -> Served:
        """Ask one row at a time over one connection. MlError: it does not answer a row."""
        with self._connected() as connection:
            took = time_rows(connection, records)
        memory = guard.resident_mb(guard.descendants(self.guard_pid))
        p50, p95 = (float(p) * 1000 for p in np.percentile(took, [50, 95]))
        return Served(p50_ms=p50, p95_ms=p95, rows=len(took), memory_mb=memory, runtime=self.runtime)

    def wait_until_healthy(self, control: Path, model: str) -> None:
        """Return once it can be asked. MlError: it ends before, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, ControlError):  # not there yet
                status, _ = ask(control, {"do": "status"})
                if status.get("ready") is True:
                    self._read_descriptions(model)
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(POLL_SECONDS)
        late = f"{self._what()} was not healthy within {START_SECONDS:g} s: {self._words()}"
        raise MlError(self._why_ended() or late)

    def cut(self) -> None:
        """End an answer that never does, whoever sends it."""
        self._process.kill()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _read_descriptions(self, model: str) -> None:
        with self._connected() as connection, self._valid("no valid description of itself"):
            health = msgspec.json.decode(request(connection, "GET", "/health"), type=dict[str, Any])
            described = msgspec.json.decode(request(connection, "GET", f"/v2/models/{model}"), type=dict[str, Any])
            classes = (described.get("parameters") or {}).get("classes")
            self.runtime = str(health.get("runtime", ""))[:40]
            if classes is not None:
                self.classes = tuple(msgspec.convert(classes, list[bool | int | float | str]))

    @contextlib.contextmanager
    def _valid(self, otherwise: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise MlError(f"{self._what()} gives {otherwise}: {printable(repr(error))}") from error

    @contextlib.contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        connection = self._connection = http.client.HTTPConnection(self.address, timeout=ANSWER_SECONDS)
        try:
            yield connection
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):  # if it is its end, let that be known
                self._process.wait(1.0)
            why = self._why_ended() or f"{self._what()} does not answer: {printable(repr(error))}"
            raise MlError(why) from error
        finally:
            self._connection = None
            connection.close()

    def _why_ended(self) -> str:
        status = self._process.poll()
        if status is None:
            return ""
        ended = ENDED.get(status, "ended").format(megabytes=self._limits.megabytes, seconds=self._limits.seconds)
        return f"{self._what()} {ended}: {self._words()}"

    def _what(self) -> str:
        return f"the server of {self.name}"

    def _words(self) -> str:
        return printable(self._printed.last().decode(errors="replace").strip()[-SHOWN:]) or "it said nothing"


def usual_limits(*, network: bool = False, confine: bool = True) -> Limits:
    """Return what any version may take on this machine now."""
    return Limits(WHOLE_SECONDS, max(LEAST_MB, MEMORY_SHARE * _available_mb()), network, confine)


@contextlib.contextmanager
def serving(
    artifacts: Artifacts, limits: Limits | None = None, runtime: str | None = None
) -> Iterator[VersionServer]:
    """Yield a healthy server of the version, which ends with this context. MlError: it does not come up.

    ``runtime``: None is what production uses, see ``serving.model.predictor.load_predictor``.
    """
    limits = limits or usual_limits()
    python = _python(artifacts, original=runtime not in {None, "onnx"})
    with tempfile.TemporaryDirectory(prefix="pinrail-gate-") as directory:
        # The model may write into the one, and must not put another server's socket in the place of the other.
        home, control = Path(directory) / "private", Path(directory) / "control"
        home.mkdir()
        private = home if limits.confine else None
        identity = {
            "model": artifacts.model,
            "version": artifacts.version,
            "digest": artifacts.digest,
            "environment": "gate",
            "revision": "gate",
            "runtime": runtime,
        }
        # Its address is not asked of it: it could name that of another version, and get that one's verdict.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = "{}:{}".format(*listening.getsockname())
            process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", guard.__name__, str(limits.megabytes), str(limits.seconds)),
                    *("", "", python, *launch.COMMAND[1:]),
                    *launch.options(identity | {"private": listening.fileno()}, artifacts.cache.absolute(), control),
                    *launch.confinement(private, network=limits.network),
                ],
                # As production's servers, but without the registry's credentials: a model is somebody else's code.
                env=launch.environment(os.environ, registry=False) | {"TMPDIR": str(home)} | launch.private(private),
                cwd=home,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[listening.fileno()],
            )
        server = VersionServer(artifacts.name, process, limits, address)
        # The guard keeps to the limits. This is for a model that kills the guard.
        timer = threading.Timer(limits.seconds + STOP_SECONDS, server.cut)
        timer.daemon = True
        timer.start()
        try:
            server.wait_until_healthy(control, artifacts.model)
            yield server
        finally:
            timer.cancel()
            _end(process)


def _python(artifacts: Artifacts, *, original: bool) -> str:
    """What its server runs with. MlError: its packages cannot be had."""
    if artifacts.packages is None:
        return sys.executable
    needed = artifacts.packages.needed(artifacts.path, original=original)
    if needed is None:
        return sys.executable
    return str(interpreter_of(artifacts.packages.obtain(needed, lambda: None)))


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Printed:
    """The last bytes that a program printed. All are read, so that it never waits, and few are kept."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream = stream
        self._kept = b""
        threading.Thread(target=self._read, name="output of a model server", daemon=True).start()

    def last(self) -> bytes:
        return self._kept

    def _read(self) -> None:
        if self._stream is None:
            return
        with self._stream as stream:
            while chunk := os.read(stream.fileno(), OUTPUT_BYTES):
                self._kept = (self._kept + chunk)[-OUTPUT_BYTES:]


def _available_mb() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**2
