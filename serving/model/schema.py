"""Strict checks of requests against a model's signature.

:mod:`serving.model.decoder` reads a valid request in one pass. What it does not accept is checked here by pydantic's
core, which decides and names each mistake. Strict means that nothing is converted: ``true`` and ``"1.5"`` are not
numbers; unknown keys and numbers that are not finite are errors. Mistakes are named by field and reason, never with
the input.
"""

import base64
import contextlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema, from_json

from serving.errors import Detail, InvalidRequestError
from serving.model.decoder import FEATURES, FLOAT32_MAX, RowDecoder, may_repeat_keys
from serving.model.model_dir import Column, ModelDir, Param

MAX_ROWS = 10_000
MAX_BODY_BYTES = 16 << 20
MAX_DETAILS = 20
# Describing an error takes longer than finding it.
MAX_DESCRIBED = 2_000

ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6}0{0,3})?)?)?", re.ASCII)
YEARS = (1678, 2261)  # the whole ones of 64-bit nanoseconds

# A row: the values of one record in the signature's order, None where one is missing.
Row = Collection[Any]


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("must be text in base64") from None


def _from_iso(text: str) -> datetime:
    """The time as pandas' nanoseconds hold it, to the microsecond. ValueError: another form, a zone, too far off."""
    found = None
    if ISO.fullmatch(text):
        with contextlib.suppress(ValueError):  # there is no such day or hour
            found = datetime.fromisoformat(text)
    if found is None:
        raise ValueError("must be a date and time without a time zone, such as 2026-01-31T09:30:00")
    if not YEARS[0] <= found.year <= YEARS[1]:
        raise ValueError(f"must be in the years {YEARS[0]} to {YEARS[1]}")
    return found


SCALARS: Mapping[str, CoreSchema] = {
    "boolean": core_schema.bool_schema(strict=True),
    "integer": core_schema.int_schema(strict=True, ge=-(2**31), le=2**31 - 1),
    "long": core_schema.int_schema(strict=True, ge=-(2**63), le=2**63 - 1),
    "float": core_schema.float_schema(strict=True, allow_inf_nan=False, ge=-FLOAT32_MAX, le=FLOAT32_MAX),
    "double": core_schema.float_schema(strict=True, allow_inf_nan=False),
    "string": core_schema.str_schema(strict=True),
    "binary": core_schema.no_info_after_validator_function(_from_base64, core_schema.str_schema(strict=True)),
    "datetime": core_schema.no_info_after_validator_function(_from_iso, core_schema.str_schema(strict=True)),
}

_REASONS = {
    "missing": "a value is required",
    "finite_number": "must be a finite number",
}


class RequestSchema:
    """What ``/predict`` accepts for one model: a record, a list of records, or ``{"features": [rows]}``."""

    def __init__(self, model: ModelDir, max_rows: int = MAX_ROWS) -> None:
        self._names = [column.name for column in model.columns]
        try:
            self._quick: RowDecoder | None = RowDecoder(model.columns, max_rows)
        except (KeyError, ValueError):
            self._quick = None
        record = core_schema.typed_dict_schema(
            {column.name: _field(column) for column in model.columns}, extra_behavior="forbid"
        )
        row = core_schema.tuple_schema([_value(column) for column in model.columns])
        self._record = SchemaValidator(record)
        self._records = SchemaValidator(_rows(record, max_rows))
        self._features = SchemaValidator(
            core_schema.typed_dict_schema(
                {FEATURES: core_schema.typed_dict_field(_rows(row, max_rows))}, extra_behavior="forbid"
            )
        )

    def check(self, records: Any) -> Sequence[Row]:
        """The rows of a list of records from another protocol. InvalidRequestError: as for :meth:`decode`."""
        try:
            return [record.values() for record in self._records.validate_python(records)]
        except ValidationError as error:
            raise InvalidRequestError(details_of(error, self._names)) from None  # the cause holds the input

    def decode(self, body: bytes) -> Sequence[Row]:
        """The rows of a request's body. InvalidRequestError: it is not what the signature allows."""
        if self._quick is not None:
            try:
                return self._quick.decode(body)
            except ValueError:
                pass  # checked and described below
        raw = parse_json(body, self._names)
        # Checked as Python values. Checking JSON is a little faster for valid requests, but each error then holds its
        # input, and building that once per error from megabytes of JSON takes many seconds.
        try:
            if not isinstance(raw, dict):
                return [record.values() for record in self._records.validate_python(raw)]
            if FEATURES in raw and (FEATURES not in self._names or isinstance(raw[FEATURES], list)):
                rows: list[Row] = self._features.validate_python(raw)[FEATURES]
                return rows
            return [self._record.validate_python(raw).values()]
        except ValidationError as error:
            raise InvalidRequestError(details_of(error, self._names)) from None  # the cause holds the input


class ParamsSchema:
    """The params that a request may contain, if the model's signature has any."""

    def __init__(self, model: ModelDir) -> None:
        self._names = [param.name for param in model.params]
        fields = {param.name: _param(param) for param in model.params}
        self._params = SchemaValidator(core_schema.typed_dict_schema(fields, extra_behavior="ignore"))

    def check(self, raw: Any) -> Mapping[str, Any] | None:
        """The params with their defaults; None for a model that has none, whatever was sent: as in MLflow."""
        if not self._names:
            return None
        try:
            checked: Mapping[str, Any] = self._params.validate_python({} if raw is None else raw)
        except ValidationError as error:
            raise InvalidRequestError(details_of(error, self._names)) from None  # the cause holds the input
        return checked


def details_of(error: ValidationError, names: Sequence[str]) -> Sequence[Detail]:
    """The mistakes by field and reason; ``names`` are listed if a name is unknown."""
    if (count := error.error_count()) > MAX_DESCRIBED:
        return [Detail(("body",), f"{count} mistakes: is this a request for this model?", "too_many_errors")]
    errors = error.errors(include_url=False, include_input=False)
    return [_detail(raw, names) for raw in errors[:MAX_DETAILS]]


def _detail(raw: Mapping[str, Any], names: Sequence[str]) -> Detail:
    loc, kind, ctx = raw["loc"], raw["type"], raw.get("ctx", {})
    msg = _REASONS.get(kind, raw["msg"])
    if kind == "extra_forbidden":
        loc = loc[:-1]  # an unknown name is input, which is not repeated
        msg = f"unknown field; expected: {', '.join(names)}"
    elif kind in {"too_long", "too_short"}:
        bound = ctx.get("max_length", ctx.get("min_length"))
        msg = f"expected at {'most' if kind == 'too_long' else 'least'} {bound} items, got {ctx['actual_length']}"
    elif kind == "dict_type":
        msg = f"must be an object with the fields {', '.join(names)}"
    elif kind in {"list_type", "tuple_type"}:
        msg = "must be an array"
    if FEATURES in loc[:1] and len(loc) == 3 and loc[2] < len(names):  # noqa: PLR2004 - features, row, column
        loc = (*loc[:2], names[loc[2]])
    return Detail(("body", *loc), msg, kind)


def parse_json(body: bytes, names: Collection[str] = ()) -> Any:
    """A JSON document as Python values, NaN and infinities included.

    InvalidRequestError: not JSON, or an object with a key twice, which is named if it is one of ``names``.
    """
    try:
        raw = from_json(body)
    except ValueError as error:
        # The message gives position and reason, and repeats nothing of the document.
        raise InvalidRequestError([Detail(("body",), f"Invalid JSON: {error}", "json_invalid")]) from None
    if may_repeat_keys(body, _keys(raw)) and (repeated := _repeated(body)):
        known = next((repr(key) for key in repeated if key in names), "a key")
        raise InvalidRequestError([Detail(("body",), f"{known} appears twice in an object", "repeated_key")])
    return raw


def _keys(value: Any) -> int:
    """The number of keys in all objects of a document; it is not deep, as the parser has a limit."""
    if isinstance(value, dict):
        return len(value) + sum([_keys(part) for part in value.values() if isinstance(part, dict | list)])
    if isinstance(value, list):
        return sum([_keys(part) for part in value if isinstance(part, dict | list)])
    return 0


def _repeated(body: bytes) -> Collection[str]:
    """The keys that some object holds twice."""
    found: set[str] = set()

    def collect(pairs: list[tuple[str, Any]]) -> None:
        counted = Counter(name for name, _ in pairs)
        found.update(name for name, count in counted.items() if count > 1)

    json.loads(body, object_pairs_hook=collect)
    return found


def _value(column: Column) -> CoreSchema:
    schema = SCALARS[column.type]
    return schema if column.required else core_schema.nullable_schema(schema)


def _field(column: Column) -> core_schema.TypedDictField:
    if column.required:
        return core_schema.typed_dict_field(_value(column))
    return core_schema.typed_dict_field(core_schema.with_default_schema(_value(column), default=None), required=False)


def _param(param: Param) -> core_schema.TypedDictField:
    schema = core_schema.list_schema(SCALARS[param.type]) if param.is_list else SCALARS[param.type]
    return core_schema.typed_dict_field(
        core_schema.with_default_schema(core_schema.nullable_schema(schema), default=param.default), required=False
    )


def _rows(row: CoreSchema, max_rows: int) -> CoreSchema:
    # The first invalid row is enough.
    return core_schema.list_schema(row, min_length=1, max_length=max_rows, fail_fast=True)
