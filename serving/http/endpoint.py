"""One scoring path: read the body, decode, predict, encode the answer. A dialect holds what differs by protocol."""

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from starlette.types import Receive, Scope, Send

from serving.batcher import Batcher
from serving.http.asgi import JSON, Headers, read_body, respond
from serving.http.body import BodyReader, Gone
from serving.http.refusal import Refusal, refusal
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


class Endpoint:
    """The ASGI app behind one scoring path."""

    def __init__(self, name: str, dialect: Dialect, bodies: BodyReader, batcher: Batcher, metrics: Metrics) -> None:
        """``name``: the protocol's name in the metrics."""
        self._dialect = dialect
        self._bodies = bodies
        self._batcher = batcher
        self._metrics = metrics.protocol(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start = time.perf_counter()
        headers: Headers = (JSON,)
        try:
            asked = self._dialect.decode(scope, await read_body(self._bodies, scope, receive))
            content = self._dialect.encode(asked, await self._batcher.predict(asked.rows, asked.params))
            status = 200
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - errors become statuses here
            refused = refusal(error)
            status, content = self._dialect.refuse(refused)
            headers = refused.headers
        await respond(scope, send, status, content, headers)
        self._metrics.record(status, time.perf_counter() - start)
