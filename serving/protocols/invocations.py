"""``POST /invocations``: MLflow's scoring protocol, so that clients of ``mlflow models serve`` work unchanged.

As in MLflow, unknown columns are ignored and texts that look like numbers are converted. Unlike in MLflow, a value
that would be truncated (1.5 for an integer) and a missing required value are refused.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema, to_json
from starlette.types import Scope

from serving.errors import Detail, InvalidRequestError
from serving.http.endpoint import ScoringRequest
from serving.http.media_type import CSV, JSON, media_type
from serving.http.refusal import Refusal
from serving.model.model_dir import Column, ModelDir
from serving.model.predictions import Predictions
from serving.model.schema import MAX_ROWS, SCALARS, ParamsSchema, Row, details_of, parse_json

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
PARAMS = "params"

# What pandas reads as missing in a CSV file.
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)


def _no_text(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("must be true or false")  # noqa: TRY004 - pydantic's; there, any text but the empty one is true
    return value


def _bytes_as_they_are(text: str) -> bytes:
    if not text.isascii():
        raise ValueError("must be ASCII")
    return text.encode("ascii").rstrip(b"\0")


Types = Mapping[str, CoreSchema]

_NUMBERS: Types = {
    **SCALARS,
    "integer": core_schema.int_schema(ge=-(2**31), le=2**31 - 1),
    "long": core_schema.int_schema(ge=-(2**63), le=2**63 - 1),
    "float": core_schema.float_schema(allow_inf_nan=False),
    "double": core_schema.float_schema(allow_inf_nan=False),
}
_IN_TABLES: Types = {
    **_NUMBERS,
    "boolean": core_schema.no_info_before_validator_function(_no_text, core_schema.bool_schema()),
}
# There, `inputs` and `instances` become arrays of numpy's: bytes are not decoded.
_IN_ARRAYS: Types = {
    **_IN_TABLES,
    "binary": core_schema.no_info_after_validator_function(_bytes_as_they_are, SCALARS["string"]),
}
_IN_CSV: Types = {**_NUMBERS, "boolean": core_schema.bool_schema()}
# What stands for a text that is missing. An array of texts holds "None", and a CSV file what pandas reads there.
_MISSING_TEXT = {"inputs": "None", "instances": "None", "csv": math.nan}
_CODES = {400: "BAD_REQUEST", 413: "BAD_REQUEST", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}

Record = Mapping[Any, Any]


class InvocationsDialect:
    """MLflow's wire format for one model."""

    def __init__(self, model: ModelDir) -> None:
        self._model = model
        self._names = [column.name for column in model.columns]
        tables, arrays = _validator(model, _IN_TABLES), _validator(model, _IN_ARRAYS)
        by_kind = {"inputs": arrays, "instances": arrays, "csv": _validator(model, _IN_CSV)}
        self._records = {kind: by_kind.get(kind, tables) for kind in (*FORMATS, "csv")}
        self._texts = [number for number, column in enumerate(model.columns) if column.type == "string"]
        self._params = ParamsSchema(model)

    def decode(self, scope: Scope, body: bytes) -> ScoringRequest:
        """Read one of MLflow's JSON formats, or CSV. UnsupportedMediaTypeError: it is neither."""
        kind = media_type(scope["headers"], (JSON, CSV))
        params: Any = None
        if kind == CSV:
            kind, records = "csv", _from_csv(body)
        else:
            raw = parse_json(body)
            found = [name for name in FORMATS if isinstance(raw, dict) and name in raw]
            if len(found) != 1:
                raise _invalid((), f"must be a JSON object with exactly one of the keys {', '.join(FORMATS)}")
            params = raw.get(PARAMS)
            kind = found[0]
            records = self._from_json(kind, raw[kind])
        try:
            rows = [record.values() for record in self._records[kind].validate_python(records)]
        except ValidationError as error:
            raise InvalidRequestError(details_of(error, self._names)) from None  # the cause holds the input
        if self._texts and kind in _MISSING_TEXT:
            rows = [self._with_texts(row, _MISSING_TEXT[kind]) for row in rows]
        return ScoringRequest(rows, self._params.check(params))

    def encode(self, _asked: ScoringRequest, predictions: Predictions) -> bytes:
        """Write only what the model's ``predict`` returns, as MLflow's clients expect."""
        return b'{"predictions": %b}' % to_json(predictions.as_mlflow())

    def refuse(self, refused: Refusal) -> tuple[int, bytes]:
        """Write errors as MLflow does: a bad request is a 400."""
        status = 400 if refused.status == 422 else refused.status  # noqa: PLR2004 - HTTP's
        return status, to_json({"error_code": _CODES.get(status, "INTERNAL_ERROR"), "message": refused.text})

    def _from_json(self, kind: str, raw: Any) -> Sequence[Record]:
        if kind == "dataframe_split":
            return self._from_split(raw)
        if kind == "inputs" and isinstance(raw, dict):
            return _from_columns(raw)
        if not isinstance(raw, list):
            raise _invalid((kind,), "must be an array" if kind != "inputs" else "must be an array or an object")
        is_array = kind in {"inputs", "instances"} and not any(isinstance(row, dict) for row in raw)
        if is_array and self._model.tensor is None and len(self._names) == 1:
            return [{self._names[0]: value} for value in raw]
        if kind == "dataframe_records" and self._model.tensor:
            raw = self._in_order(raw)
        if not self._model.named and not any(isinstance(row, dict) for row in raw):
            return [self._by_position(kind, position, row) for position, row in enumerate(raw)]
        rows: Sequence[Record] = raw
        return rows

    def _in_order(self, records: Sequence[Any]) -> Sequence[Any]:
        """The values of records for columns without names, which MLflow takes in the order that they come in."""
        names = list(records[0]) if records and isinstance(records[0], dict) else []
        here = ("dataframe_records",)
        if sorted(names) == sorted(self._names) and names != self._names:
            raise _invalid(here, f"the columns have no names: send them in order, {', '.join(self._names)}")
        if any(not isinstance(record, dict) or record.keys() != set(names) for record in records):
            raise _invalid(here, "all records must have the same names")
        return [[record[name] for name in names] for record in records]

    def _with_texts(self, row: Row, missing: Any) -> Row:
        values = list(row)
        for number in self._texts:
            if values[number] is None:
                values[number] = missing
        return values

    def _from_split(self, raw: Any) -> Sequence[Record]:
        here = "dataframe_split"
        if not isinstance(raw, dict) or "data" not in raw or set(raw) - {"columns", "data", "index"}:
            raise _invalid((here,), "must be an object with data and, optionally, columns and index")
        names = raw.get("columns", None if self._model.named else self._names)
        if not isinstance(names, list) or not isinstance(raw["data"], list):
            raise _invalid((here,), "columns and data must be arrays")
        if self._model.tensor:
            return [self._by_position(here, position, row) for position, row in enumerate(raw["data"])]
        if not self._model.named:
            names = self._names if len(names) == len(self._names) else names
        if not all(isinstance(name, str) for name in names):
            raise _invalid((here, "columns"), "names must be strings")
        for position, row in enumerate(raw["data"]):
            if not isinstance(row, list) or len(row) != len(names):
                raise _invalid((here, "data", position), f"must be an array of {len(names)} values")
        return [dict(zip(names, row, strict=True)) for row in raw["data"]]

    def _by_position(self, kind: str, position: int, row: Any) -> Record:
        if not isinstance(row, list) or len(row) != len(self._names):
            raise _invalid((kind, position), f"must be an array of {len(self._names)} values")
        return dict(zip(self._names, row, strict=True))


def _from_columns(raw: Mapping[str, Any]) -> Sequence[Record]:
    """Columns of equal length, or one value for each."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in raw.items()}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) != 1:
        raise _invalid(("inputs",), "must hold columns of the same length")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _from_csv(body: bytes) -> Sequence[Record]:
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise _invalid((), "must be CSV in UTF-8 with a header line") from None
    rows = [row for row in rows if row]
    if not rows:
        raise _invalid((), "must be CSV with a header line")
    names = rows[0]
    for number, row in enumerate(rows[1:]):
        if len(row) != len(names):
            raise _invalid((number,), f"must have {len(names)} values, as in the header line")
    return [{n: None if v in MISSING else v for n, v in zip(names, row, strict=True)} for row in rows[1:]]


def _validator(model: ModelDir, types: Types) -> SchemaValidator:
    fields = {column.name: _field(column, types[column.type]) for column in model.columns}
    record = core_schema.typed_dict_schema(fields, extra_behavior="ignore")
    return SchemaValidator(core_schema.list_schema(record, min_length=1, max_length=MAX_ROWS, fail_fast=True))


def _field(column: Column, schema: CoreSchema) -> core_schema.TypedDictField:
    if column.required:
        return core_schema.typed_dict_field(schema)
    # Python's json writes a missing number as NaN.
    absent = core_schema.no_info_before_validator_function(_none_for_nan, core_schema.nullable_schema(schema))
    return core_schema.typed_dict_field(core_schema.with_default_schema(absent, default=None), required=False)


def _none_for_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _invalid(loc: tuple[str | int, ...], message: str) -> InvalidRequestError:
    return InvalidRequestError([Detail(("body", *loc), message, "format")])
