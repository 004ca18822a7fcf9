"""Asks model servers over HTTP whether they are what they should be, as a client would: each time anew."""

import contextlib
import http.client
import json
import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from receiver.adapters.addresses import url_host
from receiver.core.errors import Retryable, VersionFailed
from receiver.core.state import Server, ServerSpec
from receiver.ports import Stop, never
from serving.errors import ServingError
from serving.inference_log.settings import PROBER
from serving.model.model_dir import input_example

PROVE_SECONDS = 30.0  # a model's first prediction may be slow
WATCH_SECONDS = 3.0  # a request of a watched server that takes longer has failed
PAUSE_SECONDS = 0.15
LARGEST_ANSWER = 16 << 20  # bytes
SHOWN = 300  # characters of an answer in an error


class NoAnswerError(VersionFailed):
    """No whole answer came in time."""


@dataclass(frozen=True, slots=True)
class Smoke:
    """A request whose answer is checked: the model's own input example."""

    body: bytes
    rows: int


class HttpProber:
    """Implements :class:`receiver.ports.Prober`. ``host``: where slots' public ports answer."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = url_host(host)
        self._smoke: dict[str, Smoke] = {}  # by model digest, for watching what was proven

    def require_example(self, spec: ServerSpec, artifacts: Path) -> None:
        """See :meth:`receiver.ports.Prober.require_example`."""
        _smoke(spec, artifacts)

    def prove(self, server: Server, artifacts: Path) -> None:
        """See :meth:`receiver.ports.Prober.prove`."""
        smoke = _smoke(server.spec, artifacts)
        self._smoke[server.spec.digest] = smoke
        for url in server.urls:
            _check(url, server.spec, smoke, PROVE_SECONDS)

    def watch(self, server: Server, seconds: float, stop: Stop = never) -> None:
        """See :meth:`receiver.ports.Prober.watch`. It asks at least once."""
        url = f"http://{self._host}:{server.spec.port}"
        smoke = self._smoke.get(server.spec.digest)
        started = time.monotonic()
        while True:
            stop()
            try:
                _check(url, server.spec, smoke, WATCH_SECONDS)
                if len(server.urls) > 1:  # the port answers also where one of them has ended
                    _check_each(server, None)
            except VersionFailed as error:
                if isinstance(error, NoAnswerError) and _only_the_port_is_silent(url, server, smoke):
                    raise Retryable(f"{error}; the server itself answers: has the port too many clients?") from error
                raise VersionFailed(f"{time.monotonic() - started:.1f} s after it got traffic: {error}") from error
            if time.monotonic() + PAUSE_SECONDS > started + seconds:
                return
            time.sleep(PAUSE_SECONDS)


def _only_the_port_is_silent(url: str, server: Server, smoke: Smoke | None) -> bool:
    """The server answers as it should at its private address, and the public port still does not."""
    try:
        _check_each(server, smoke)
    except VersionFailed:
        return False
    try:
        _check(url, server.spec, smoke, WATCH_SECONDS)
    except NoAnswerError:
        return True
    except VersionFailed:
        return False
    return False


def _check_each(server: Server, smoke: Smoke | None) -> None:
    for url in server.urls:
        _check(url, server.spec, smoke, WATCH_SECONDS)


def is_healthy(url: str, timeout: float = WATCH_SECONDS) -> bool:
    """``GET /health`` answers 200."""
    try:
        return _ask(url, "/health", None, timeout)[0] == http.client.OK
    except VersionFailed:
        return False


def _check(url: str, spec: ServerSpec, smoke: Smoke | None, timeout: float) -> None:
    _check_health(url, spec, timeout)
    if smoke is not None:
        _check_predictions(url, spec, smoke, timeout)


def _check_health(url: str, spec: ServerSpec, timeout: float) -> None:
    asked = f"GET {url}/health"
    said = _json(asked, *_ask(url, "/health", None, timeout))
    wanted: dict[str, Any] = {
        "status": "ok",
        "environment": spec.slot.environment,
        "model": spec.slot.model,
        "version": spec.version,
        "digest": spec.digest,
    }
    for name, value in wanted.items():
        if said.get(name) != value or type(said.get(name)) is not type(value):
            raise VersionFailed(f"{asked}: expected {name} {value!r} of {spec.slot}, got {_shown(said.get(name))}")


def _check_predictions(url: str, spec: ServerSpec, smoke: Smoke, timeout: float) -> None:
    asked = f"POST {url}/predict with the model's input example"
    said = _json(asked, *_ask(url, "/predict", smoke.body, timeout))
    if (said.get("model"), said.get("version")) != (spec.slot.model, spec.version):
        wanted, answered = f"{spec.slot.model} v{spec.version}", _shown([said.get("model"), said.get("version")])
        raise VersionFailed(f"{asked}: expected an answer of {wanted}, got one of {answered}")
    predictions = said.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != smoke.rows:
        raise VersionFailed(f"{asked}: expected {smoke.rows} predictions, got {_shown(predictions)}")
    if not _finite(predictions) or not _finite(said.get("probabilities", [])):
        raise VersionFailed(f"{asked}: expected finite numbers, got {_shown(said)}")


def _ask(url: str, path: str, body: bytes | None, timeout: float) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body. NoAnswerError: no whole answer within ``timeout``."""
    method = "GET" if body is None else "POST"
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    headers = {"Connection": "close", "User-Agent": PROBER.decode()} | (
        {} if body is None else {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + timeout
    try:
        connection.connect()
        with _cut_after(connection.sock, timeout):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read(LARGEST_ANSWER)
            if response.length:  # bytes announced and not read: more than is sensible, or cut off
                raise http.client.IncompleteRead(content[:SHOWN], response.length)
            return response.status, content
    except (OSError, http.client.HTTPException) as error:
        late = isinstance(error, TimeoutError) or time.monotonic() >= deadline
        why = f"no answer within {timeout:g} s" if late else f"no answer, {type(error).__name__}: {error}"
        raise NoAnswerError(f"{method} {url}{path}: {why}") from error
    finally:
        connection.close()


@contextlib.contextmanager
def _cut_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """End the connection when its time is up: its own timeout is per read, and a slow drip never reaches it."""

    def cut() -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _json(asked: str, status: int, body: bytes) -> Mapping[str, Any]:
    shown = _shown(body.decode("utf-8", "replace"))
    if status != http.client.OK:
        raise VersionFailed(f"{asked}: expected status 200, got {status} {shown}")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise VersionFailed(f"{asked}: expected JSON, got {shown}") from error
    if not isinstance(said, dict):
        raise VersionFailed(f"{asked}: expected a JSON object, got {shown}")
    return said


def _finite(value: object) -> bool:
    """No NaN or infinity anywhere. Labels may be text, and null where the model has no answer to a row."""
    if isinstance(value, Mapping):
        return all(_finite(part) for part in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(_finite(part) for part in value)
    return not (isinstance(value, float) and not math.isfinite(value))


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= SHOWN else text[:SHOWN] + " ..."


def _smoke(spec: ServerSpec, artifacts: Path) -> Smoke:
    try:
        rows = input_example(artifacts)
    except (ServingError, OSError, ValueError, LookupError, TypeError) as error:
        raise VersionFailed(f"{spec.slot} v{spec.version}: its input example cannot be read: {error}") from error
    if not rows:
        found = f"{spec.slot} v{spec.version} has no input example to try a new server with"
        raise VersionFailed(f"{found}: log the model with input_example=")
    return Smoke(json.dumps(rows).encode(), len(rows))
