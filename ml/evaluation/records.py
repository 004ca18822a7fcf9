"""Evaluation rows as a caller would send them. Pure."""

from collections.abc import Sequence

import pandas as pd

from ml.gates.subject import Record
from serving.model.model_dir import Column

INTEGERS = frozenset({"integer", "long"})


def to_records(features: pd.DataFrame, columns: Sequence[Column]) -> list[Record]:
    """Return rows as a caller would send them: a model's fields as plain Python values, None for what is missing."""
    found = {column.name: _values(features[column.name], column) for column in columns if column.name in features}
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def _values(values: pd.Series, column: Column) -> list[object]:
    plain = [None if gone else value for value, gone in zip(values.tolist(), values.isna(), strict=True)]
    if column.type in INTEGERS and values.dtype.kind == "f":  # a column of whole numbers with some missing
        return [int(v) if isinstance(v, float) and v.is_integer() else v for v in plain]
    return plain
