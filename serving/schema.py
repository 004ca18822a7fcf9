"""From a model's signature to strict checking of requests: decoded and checked in one pass, by pydantic's core.

Strict means that nothing is guessed: ``true`` and ``"1.5"`` are no numbers, an unknown key is an error, and so is a
number that is not finite. What is wrong is said by field and reason and never with the input in it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema, from_json

from serving.errors import Detail, InvalidRequestError
from serving.model_dir import Column, ModelDir

MAX_ROWS = 10_000
MAX_BODY_BYTES = 16 << 20
MAX_DETAILS = 20
# Describing an error takes longer than finding it.
MAX_DESCRIBED = 2_000

FEATURES = "features"
FLOAT32_MAX = 3.4028234663852886e38

# A row: the values of one record in the signature's order, None where one is missing.
Row = Collection[Any]

_SCALARS: Mapping[str, CoreSchema] = {
    "boolean": core_schema.bool_schema(strict=True),
    "integer": core_schema.int_schema(strict=True, ge=-(2**31), le=2**31 - 1),
    "long": core_schema.int_schema(strict=True, ge=-(2**63), le=2**63 - 1),
    "float": core_schema.float_schema(strict=True, allow_inf_nan=False, ge=-FLOAT32_MAX, le=FLOAT32_MAX),
    "double": core_schema.float_schema(strict=True, allow_inf_nan=False),
    "string": core_schema.str_schema(strict=True),
    "binary": core_schema.bytes_schema(),
    "datetime": core_schema.datetime_schema(strict=True, tz_constraint="naive"),
}
_CONFIG = core_schema.CoreConfig(val_json_bytes="base64")

_REASONS = {
    "missing": "a value is required",
    "finite_number": "must be a finite number",
}


class RequestSchema:
    """What ``/predict`` accepts for one model: a record, a list of records, or ``{"features": [rows]}``."""

    def __init__(self, model: ModelDir, max_rows: int = MAX_ROWS) -> None:
        self.columns = model.columns
        self._names = [column.name for column in model.columns]
        record = core_schema.typed_dict_schema(
            {column.name: _field(column) for column in model.columns}, extra_behavior="forbid"
        )
        row = core_schema.tuple_schema([_value(column) for column in model.columns])
        self._record = _validator(record)
        self._records = _validator(_rows(record, max_rows))
        self._features = _validator(
            core_schema.typed_dict_schema(
                {FEATURES: core_schema.typed_dict_field(_rows(row, max_rows))}, extra_behavior="forbid"
            )
        )

    def decode(self, body: bytes) -> list[Row]:
        """The rows of a request's body. InvalidRequestError: it is not what the signature allows."""
        try:
            if body[:1] == b"{":
                try:
                    return [self._record.validate_json(body).values()]
                except ValidationError:
                    if not self._has_features(body):
                        raise
                    rows: list[Row] = self._features.validate_json(body)[FEATURES]
                    return rows
            if body.lstrip(b" \t\r\n")[:1] == b"{":
                return self.decode(body.lstrip(b" \t\r\n"))
            return [record.values() for record in self._records.validate_json(body)]
        except ValidationError as error:
            raise InvalidRequestError(self._details(error)) from None  # the cause holds the input

    def _has_features(self, body: bytes) -> bool:
        """It is meant as rows in the signature's order: what else could this key hold a list for?"""
        try:
            raw = from_json(body)
        except ValueError:
            return False
        return isinstance(raw, dict) and (
            isinstance(raw.get(FEATURES), list) or (FEATURES in raw and FEATURES not in self._names)
        )

    def _details(self, error: ValidationError) -> Sequence[Detail]:
        if (count := error.error_count()) > MAX_DESCRIBED:
            return [Detail(("body",), f"{count} mistakes: is this a request for this model?", "too_many_errors")]
        errors = error.errors(include_url=False, include_input=False)
        return [self._detail(raw) for raw in errors[:MAX_DETAILS]]

    def _detail(self, raw: Mapping[str, Any]) -> Detail:
        loc, kind, ctx = raw["loc"], raw["type"], raw.get("ctx", {})
        msg = _REASONS.get(kind, raw["msg"])
        if kind == "extra_forbidden":
            loc = loc[:-1]  # an unknown name is input, and may be anything
            msg = f"unknown field; known are: {', '.join(self._names)}"
        elif kind in {"too_long", "too_short"}:
            bound = ctx.get("max_length", ctx.get("min_length"))
            msg = f"expected at {'most' if kind == 'too_long' else 'least'} {bound} items, got {ctx['actual_length']}"
        elif kind == "dict_type":
            msg = f"must be an object with the fields {', '.join(self._names)}"
        elif kind in {"list_type", "tuple_type"}:
            msg = "must be an array"
        if FEATURES in loc[:1] and len(loc) == 3 and loc[2] < len(self._names):  # noqa: PLR2004 - features, row, column
            loc = (*loc[:2], self._names[loc[2]])
        return Detail(("body", *loc), msg, kind)


def _validator(schema: CoreSchema) -> SchemaValidator:
    return SchemaValidator(schema, _CONFIG)


def _value(column: Column) -> CoreSchema:
    schema = _SCALARS[column.type]
    return schema if column.required else core_schema.nullable_schema(schema)


def _field(column: Column) -> core_schema.TypedDictField:
    if column.required:
        return core_schema.typed_dict_field(_value(column))
    return core_schema.typed_dict_field(core_schema.with_default_schema(_value(column), default=None), required=False)


def _rows(row: CoreSchema, max_rows: int) -> CoreSchema:
    # The first bad row is enough: describing ten thousand of them helps nobody.
    return core_schema.list_schema(row, min_length=1, max_length=max_rows, fail_fast=True)
