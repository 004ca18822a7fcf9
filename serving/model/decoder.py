"""Decodes the rows of a valid request in one pass, with msgspec: much faster than parsing JSON and checking it after.

It accepts nothing that :mod:`serving.model.schema` would refuse, and gives the same values. What it does not accept
is parsed again there, which describes the mistake or accepts an unusual but valid request.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from serving.model.model_dir import Column

FEATURES = "features"
FLOAT32_MAX = 3.4028234663852886e38

# binary and datetime are not here: the schema accepts more forms of them than msgspec does.
_TYPES: Mapping[str, Any] = {
    "boolean": bool,
    "integer": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "long": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "float": Annotated[float, msgspec.Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)],
    "double": float,
    "string": str,
}

# A key in JSON text. Each key is found; so is what looks like one in a text.
_KEY = re.compile(rb'"[ \t\r\n]*:')


def may_repeat_keys(body: bytes, keys: int) -> bool:
    """Whether valid JSON of which a parser kept so many keys may have held more, of the same names."""
    return body.count(b":") != keys and len(_KEY.findall(body)) != keys


class RowDecoder:
    """Reads a record, a list of records, or ``{"features": [rows]}`` for one signature."""

    def __init__(self, columns: Sequence[Column], max_rows: int) -> None:
        """KeyError, ValueError: msgspec can't read these columns' types or names."""
        types = [_TYPES[column.type] if column.required else _TYPES[column.type] | None for column in columns]
        fields = [f"f{position}" for position in range(len(columns))]
        record = msgspec.defstruct(
            "Record",
            [
                (field, kind) if column.required else (field, kind | msgspec.UnsetType, msgspec.UNSET)
                for field, kind, column in zip(fields, types, columns, strict=True)
            ],
            rename={field: column.name for field, column in zip(fields, columns, strict=True)},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        counted = msgspec.Meta(min_length=1, max_length=max_rows)
        features = msgspec.defstruct(
            "Features",
            [(FEATURES, Annotated[list[tuple[tuple(types)]], counted])],  # type: ignore[misc]
            forbid_unknown_fields=True,
        )
        self._record = msgspec.json.Decoder(record).decode
        self._records = msgspec.json.Decoder(Annotated[list[record], counted]).decode  # type: ignore[valid-type]
        self._features = msgspec.json.Decoder(features).decode
        self._width = len(columns)
        self._optional = [position for position, column in enumerate(columns) if not column.required]

    def decode(self, body: bytes) -> list[tuple[Any, ...]]:
        """Read a body. ValueError: it is none of these, in an unusual form, or may hold a key twice."""
        values = msgspec.structs.astuple
        if body.startswith(b"["):
            rows = [values(record) for record in self._records(body)]
        else:
            try:
                rows = [values(self._record(body))]
            except msgspec.ValidationError:
                return self._rows_of_features(body)
        keys = len(rows) * self._width
        if self._optional:
            absent = len([1 for row in rows for position in self._optional if row[position] is msgspec.UNSET])
            if absent:
                rows = [tuple([None if value is msgspec.UNSET else value for value in row]) for row in rows]
                keys -= absent
        if body.count(b":") != keys and may_repeat_keys(body, keys):
            raise ValueError("a key may appear twice")
        return rows

    def _rows_of_features(self, body: bytes) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = getattr(self._features(body), FEATURES)
        if may_repeat_keys(body, 1):
            raise ValueError("the key may appear twice")
        return rows
