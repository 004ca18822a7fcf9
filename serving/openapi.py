"""The model's signature as JSON Schema, for the OpenAPI description of this server."""

from collections.abc import Sequence
from typing import Any

from serving.model.decoder import FEATURES, FLOAT32_MAX
from serving.model.model_dir import Column, ModelDir
from serving.model.schema import MAX_ROWS
from serving.protocols.invocations import FORMATS, PARAMS

_SCALARS: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number", "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX},
    "double": {"type": "number"},
    "string": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time", "description": "without a time zone"},
}

_DETAIL = {
    "type": "object",
    "properties": {
        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
        "msg": {"type": "string"},
        "type": {"type": "string"},
    },
    "required": ["loc", "msg", "type"],
}


def request_schemas(columns: Sequence[Column]) -> dict[str, Any]:
    """The component schemas ``Record`` and ``PredictRequest`` of a model with these inputs."""
    record = {
        "type": "object",
        "properties": {column.name: _value(column) for column in columns},
        "required": [column.name for column in columns if column.required],
        "additionalProperties": False,
    }
    row = {
        "type": "array",
        "prefixItems": [{**_value(column), "title": column.name} for column in columns],
        "items": False,
        "minItems": len(columns),
        "maxItems": len(columns),
    }
    features = {
        "type": "object",
        "description": "Rows of values in the signature's order.",
        "properties": {FEATURES: _rows(row)},
        "required": [FEATURES],
        "additionalProperties": False,
    }
    reference = {"$ref": "#/components/schemas/Record"}
    return {
        "Record": record,
        "PredictRequest": {"oneOf": [reference, _rows(reference), features]},
        "PredictResponse": _response(),
        "Error": {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]},
        "InvalidRequest": {
            "type": "object",
            "properties": {"detail": {"type": "array", "items": _DETAIL}},
            "required": ["detail"],
        },
    }


def predict_operation(model: ModelDir, example: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The OpenAPI operation of ``POST /predict``."""
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/PredictRequest"}}
    if example:
        content["examples"] = {
            "record": {"summary": "one record", "value": example[0]},
            "records": {"summary": "several records", "value": list(example)},
        }
    return {
        "summary": "Ask the model",
        "operationId": "predict",
        "description": f"One record, up to {MAX_ROWS} of them, or rows of {len(model.columns)} values in order.",
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": _answer("One prediction per row, in order", "PredictResponse"),
            "413": _answer("The body is too large", "Error"),
            "422": _answer("The body is not what the signature allows", "InvalidRequest"),
            "500": _answer("The model has no finite answer", "Error"),
            "503": _answer("Too much is waiting, or the model is not loaded yet; see Retry-After", "Error"),
            "504": _answer("The answer was not ready in time", "Error"),
        },
    }


def invocations_operation() -> dict[str, Any]:
    """The OpenAPI operation of ``POST /invocations``."""
    return {
        "summary": "Ask the model in MLflow's scoring protocol",
        "operationId": "invocations",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "description": "Exactly one of the four formats, and the model's params beside it.",
                        "properties": {name: {} for name in (*FORMATS, PARAMS)},
                    }
                },
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        "responses": {
            "200": {"description": "The model's predictions", "content": _json({"required": ["predictions"]})},
            "400": {
                "description": "The body is not what the signature allows",
                "content": _json({"required": ["error_code", "message"]}),
            },
            "415": {"description": "Neither JSON nor CSV in UTF-8", "content": _json({})},
        },
    }


def infer_operation() -> dict[str, Any]:
    """The OpenAPI operation of ``POST /v2/models/NAME/infer``."""
    tensor = {"required": ["name", "shape", "datatype"]}
    inputs = {"type": "array", "minItems": 1, "items": {"type": "object", **tensor}}
    body = {"required": ["inputs"], "properties": {"inputs": inputs}}
    return {
        "summary": "Ask the model in the Open Inference Protocol",
        "operationId": "infer",
        "tags": ["Open Inference Protocol"],
        "requestBody": {"required": True, "content": _json(body)},
        "responses": {
            "200": {"description": "The model's outputs", "content": _json({"required": ["model_name", "outputs"]})},
            "400": {"description": "The inputs are not the signature's", "content": _json({"required": ["error"]})},
        },
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "object", **schema}}}


def _value(column: Column) -> dict[str, Any]:
    schema = dict(_SCALARS[column.type])
    if not column.required:
        schema["type"] = [schema["type"], "null"]
    return schema


def _rows(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": MAX_ROWS}


def _response() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "version": {"type": "integer"},
            "predictions": {"type": "array"},
            "probabilities": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        },
        "required": ["model", "version", "predictions"],
    }


def _answer(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
