"""``POST /v2/models/NAME/infer``: the Open Inference Protocol over HTTP, as Triton, KServe and MLServer speak it.

One input per column, of shape ``[N]`` or ``[N, 1]`` and under the column's name; or one of ``[N, columns]`` where the
signature is a tensor. Answers are JSON, which clients of the binary extension read as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from starlette.types import Scope

from serving.errors import Detail, InvalidRequestError, PredictionError
from serving.http.endpoint import ScoringRequest
from serving.http.media_type import BINARY, JSON, media_type
from serving.http.refusal import Refusal
from serving.model import model_dir
from serving.model.model_dir import ModelDir
from serving.model.predictions import Array, Predictions, array_of
from serving.model.predictor import Predictor
from serving.model.schema import MAX_ROWS, ParamsSchema, RequestSchema, parse_json
from serving.protocols import tensors

HEADER_LENGTH = b"inference-header-content-length"
TENSOR = "input-0"
MATRIX_RANK = 2


class InferDialect:
    """The protocol for one model."""

    def __init__(self, schema: RequestSchema, model: ModelDir, name: str, version: int) -> None:
        self._schema = schema
        self._params = ParamsSchema(model)
        self._columns = [column.name for column in model.columns]
        self._is_tensor = model.tensor is not None
        self._head = {"model_name": name, "model_version": str(version)}

    def decode(self, scope: Scope, body: bytes) -> ScoringRequest:
        """Read inputs as columns. InvalidRequestError: they are not the signature's. UnsupportedMediaTypeError."""
        media_type(scope["headers"], (JSON, BINARY), may_be_absent=True)  # Triton's client sends none
        header, binary = _split(scope, body)
        raw = parse_json(header)
        inputs = raw.get("inputs") if isinstance(raw, dict) else None
        if not isinstance(inputs, list) or not inputs or not all(isinstance(tensor, dict) for tensor in inputs):
            raise _invalid("must be a JSON object with an array of inputs")
        read = [tensors.values(t, blob) for t, blob in zip(inputs, tensors.blobs(inputs, binary), strict=True)]
        records = self._from_matrix(read) if self._is_tensor else self._from_columns(inputs, read)
        request_id = raw.get("id")
        return ScoringRequest(
            self._schema.check(records),
            self._params.check(raw.get("parameters")),
            request_id if isinstance(request_id, str) else None,
            _wanted(raw.get("outputs")),
        )

    def encode(self, asked: ScoringRequest, predictions: Predictions) -> bytes:
        """Write the requested outputs."""
        found = outputs(predictions)
        if asked.outputs is not None and not asked.outputs <= set(found):
            raise _invalid(f"the model's outputs are {', '.join(found)}")
        answer: dict[str, Any] = dict(self._head)
        if asked.id is not None:
            answer["id"] = asked.id
        answer["outputs"] = [
            {"name": name, **tensors.written(array)}
            for name, array in found.items()
            if asked.outputs is None or name in asked.outputs
        ]
        return to_json(answer)

    def refuse(self, refused: Refusal) -> tuple[int, bytes]:
        """Write errors in the protocol's shape."""
        status = 400 if refused.status == 422 else refused.status  # noqa: PLR2004 - HTTP's
        return status, to_json({"error": refused.text})

    def _from_columns(
        self, inputs: Sequence[Mapping[str, Any]], read: Sequence[tuple[list[int], list[Any]]]
    ) -> list[dict[str, Any]]:
        names: list[Any] = [tensor.get("name") for tensor in inputs]
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise _invalid("each input must have a unique name")
        rows = read[0][0][0]
        for shape, _ in read:
            if shape not in ([rows], [rows, 1]):
                raise _invalid(f"all inputs must have the shape [{rows}] or [{rows}, 1], like the first input")
        if not 0 < rows <= MAX_ROWS:
            raise _invalid(f"between 1 and {MAX_ROWS} rows are allowed per request")
        columns = [elements for _, elements in read]
        # A missing number of an optional column arrives as NaN, which is None by now.
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _from_matrix(self, read: Sequence[tuple[list[int], list[Any]]]) -> list[dict[str, Any]]:
        (shape, elements), width = read[0], len(self._columns)
        if len(read) != 1 or len(shape) != MATRIX_RANK or shape[1] != width:
            raise _invalid(f"must be one input of the shape [rows, {width}]")
        rows = [elements[start : start + width] for start in range(0, len(elements), width)]
        return [dict(zip(self._columns, row, strict=True)) for row in rows]


def metadata(predictor: Predictor, name: str, version: int) -> dict[str, Any]:
    """The protocol's model metadata. The outputs come from running the model's example.

    The parameter ``classes`` names a classifier's classes, in the order of its probabilities.
    """
    model = predictor.model
    kinds = [tensors.COLUMN_TYPES.get(column.type, tensors.BYTES) for column in model.columns]
    inputs = [
        {"name": column.name, "datatype": kind, "shape": [-1, 1]}
        for column, kind in zip(model.columns, kinds, strict=True)
    ]
    example = model_dir.input_example(model.path)[:1]
    try:
        found = outputs(predictor.predict_records(example)) if example else {}
    except (PredictionError, InvalidRequestError):
        found = {}
    classes = predictor.runtime.classes
    return {
        "name": name,
        "versions": [str(version)],
        **({} if classes is None else {"parameters": {"classes": list(classes)}}),
        "platform": f"mlflow_{predictor.runtime.name}",
        "inputs": [{"name": TENSOR, "datatype": kinds[0], "shape": [-1, len(kinds)]}] if model.tensor else inputs,
        "outputs": [
            {"name": key, "datatype": tensor["datatype"], "shape": [-1, *tensor["shape"][1:]]}
            for key, tensor in ((key, tensors.written(array)) for key, array in found.items())
        ],
    }


def outputs(predictions: Predictions) -> dict[str, Array]:
    """Predictions as named arrays; a model that answers records, all with the same keys, has one output per key."""
    labels = predictions.labels
    records = labels.tolist() if labels.dtype.kind == "O" and labels.ndim == 1 else []
    if records and all(isinstance(record, Mapping) and record.keys() == records[0].keys() for record in records):
        return {str(key): array_of([record[key] for record in records]) for key in records[0]}
    found = {"predictions": labels}
    if predictions.probabilities is not None:
        found["probabilities"] = predictions.probabilities
    return found


def _split(scope: Scope, body: bytes) -> tuple[bytes, bytes]:
    """The JSON part of a body and the binary tail behind it, if there is one."""
    length = next((value for name, value in scope["headers"] if name == HEADER_LENGTH), None)
    if length is None:
        return body, b""
    if not length.isdigit() or len(length) > len(str(len(body))) or int(length) > len(body):
        raise _invalid("Inference-Header-Content-Length must be the length of the JSON part")
    return body[: int(length)], body[int(length) :]


def _wanted(raw: Any) -> frozenset[str] | None:
    if not raw:
        return None
    if not isinstance(raw, list) or not all(isinstance(o, dict) and isinstance(o.get("name"), str) for o in raw):
        raise _invalid("outputs must be an array of objects with a name")
    return frozenset(output["name"] for output in raw)


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError([Detail(("body",), message, "format")])
