"""One scoring path: read the body, decode, predict, encode the answer. A dialect holds what differs by protocol."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from starlette.types import Receive, Scope, Send

from serving.batcher import Batcher
from serving.http.asgi import JSON, Headers, read_body, respond
from serving.http.body import BodyReader, Gone
from serving.http.callers import REQUEST_ID, USER_AGENT, Callers
from serving.http.refusal import Refusal, refusal
from serving.inference_log.entry import Entry
from serving.inference_log.log import InferenceLog
from serving.metrics import Metrics
from serving.model.predictions import Predictions
from serving.model.predictor import Params
from serving.model.schema import Row


class ScoringRequest(NamedTuple):
    """A decoded request, in the predictor's terms."""

    rows: Sequence[Row]
    params: Params = None
    id: str | None = None  # the caller's id for the request, returned in the answer
    outputs: frozenset[str] | None = None  # the requested outputs; None: all


class Dialect(Protocol):
    """A wire format, as pure translation in both directions."""

    def decode(self, scope: Scope, body: bytes) -> ScoringRequest:
        """Read a request. InvalidRequestError: it does not match the signature."""
        ...

    def encode(self, asked: ScoringRequest, predictions: Predictions) -> bytes:
        """Write predictions as JSON."""
        ...

    def refuse(self, refused: Refusal) -> tuple[int, bytes]:
        """Write an error as status and JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """What all scoring paths of one model server share."""

    bodies: BodyReader
    batcher: Batcher
    metrics: Metrics
    version: int
    log: InferenceLog | None = None


class Endpoint:
    """The ASGI app behind one scoring path."""

    def __init__(self, name: str, dialect: Dialect, backend: Backend) -> None:
        """``name``: the protocol's name in metrics and inference log."""
        self._name = name
        self._dialect = dialect
        self._bodies = backend.bodies
        self._batcher = backend.batcher
        self._metrics = backend.metrics.protocol(name)
        self._log = backend.log
        self._callers = Callers(USER_AGENT if backend.log is None else backend.log.caller_header)
        self._version = (b"x-model-version", b"%d" % backend.version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and record it after that."""
        start = time.perf_counter()
        request_id, caller = self._callers.identify(scope["headers"])
        identified = (REQUEST_ID, request_id), self._version
        headers: Headers = (JSON, *identified)
        asked = predictions = None
        body, reason = b"", ""
        try:
            body = await read_body(self._bodies, scope, receive)
            asked = self._dialect.decode(scope, body)
            predictions = await self._batcher.predict(asked.rows, asked.params)
            content = self._dialect.encode(asked, predictions)
            status = 200
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - errors become statuses here
            refused = refusal(error, f"version {self._version[1].decode()}, request {request_id.decode()}")
            status, content = self._dialect.refuse(refused)
            headers, reason = (*refused.headers, *identified), refused.text
        await respond(scope, send, status, content, headers)
        seconds = time.perf_counter() - start
        self._metrics.record(status, seconds)
        if self._log is not None:
            rows, params = (None, None) if asked is None else (asked.rows, asked.params)
            self._log.add(
                Entry(request_id, caller, self._name, status, reason, seconds, len(body), rows, params, predictions)
            )
