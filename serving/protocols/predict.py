"""``POST /predict``: records or rows in, labels and probabilities out."""

from pydantic_core import to_json
from starlette.types import Scope

from serving.errors import InvalidRequestError
from serving.http.asgi import JSON as AS_JSON
from serving.http.endpoint import ScoringRequest
from serving.http.media_type import media_type
from serving.http.refusal import Refusal
from serving.model.predictions import Predictions
from serving.model.schema import RequestSchema


class PredictDialect:
    """This project's own wire format, described by its OpenAPI document."""

    def __init__(self, schema: RequestSchema, model: str, version: int) -> None:
        self._schema = schema
        self._head = b'{"model":%b,"version":%d,"predictions":' % (to_json(model), version)

    def decode(self, scope: Scope, body: bytes) -> ScoringRequest:
        """Read a record, a list of records, or rows in order. UnsupportedMediaTypeError: it is not sent as JSON."""
        headers = scope["headers"]
        if AS_JSON not in headers:  # as it nearly always is
            media_type(headers)
        try:
            return ScoringRequest(self._schema.decode(body))
        except InvalidRequestError:
            media_type(headers)  # or is it compressed?
            raise

    def encode(self, _asked: ScoringRequest, predictions: Predictions) -> bytes:
        """Write labels and, where the model gives them, probabilities."""
        labels = to_json(predictions.labels.tolist())
        if predictions.probabilities is None:
            return self._head + labels + b"}"
        return b'%b%b,"probabilities":%b}' % (self._head, labels, to_json(predictions.probabilities.tolist()))

    def refuse(self, refused: Refusal) -> tuple[int, bytes]:
        """Write errors in FastAPI's shape."""
        return refused.status, to_json({"detail": refused.detail})
