"""``POST /predict``: records or rows in, labels and probabilities out."""

from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from serving.asgi import ClientGoneError, read_body, respond
from serving.batcher import Batcher
from serving.predictions import Predictions
from serving.refusal import refusal
from serving.schema import RequestSchema


class PredictEndpoint:
    """The ASGI app behind one path."""

    def __init__(self, schema: RequestSchema, batcher: Batcher, model: str, version: int) -> None:
        self._schema = schema
        self._batcher = batcher
        self._head = b'{"model":%b,"version":%d,"predictions":' % (to_json(model), version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Answer one request."""
        try:
            predictions = await self._batcher.predict(self._schema.decode(await read_body(receive)))
            content = self._encode(predictions)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001 - this is where errors become statuses
            refused = refusal(error)
            await respond(send, refused.status, to_json({"detail": refused.detail}), refused.headers)
        else:
            await respond(send, 200, content)

    def _encode(self, predictions: Predictions) -> bytes:
        labels = to_json(predictions.labels.tolist())
        if predictions.probabilities is None:
            return self._head + labels + b"}"
        return b'%b%b,"probabilities":%b}' % (self._head, labels, to_json(predictions.probabilities.tolist()))
