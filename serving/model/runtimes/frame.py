"""Columns as the input that MLflow's own server would make of each row alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from serving.errors import Detail, InvalidRequestError
from serving.model.model_dir import Column, ModelDir

NUMPY_TYPES = {"boolean": np.bool_, "integer": np.int32, "long": np.int64, "float": np.float32, "double": np.float64}
# Types of columns that pandas reads as another type when a value is missing.
CHANGED_BY_MISSING = frozenset({"integer", "long", "string", "binary"})


def frame(model: ModelDir, columns: Sequence[Sequence[Any]]) -> Any:
    """The model's input: a DataFrame, an array where the signature is a tensor, a list where it is a type hint.

    InvalidRequestError: a number is out of the tensor's range.
    """
    if model.tensor:
        try:
            return np.ascontiguousarray(np.array(columns, dtype=model.tensor).T)
        except OverflowError:
            message = f"a number is out of the range of the model's {model.tensor}"
            raise InvalidRequestError([Detail(("body",), message, "out_of_range")]) from None
    if model.takes_list:
        return list(columns[0])
    names: Sequence[Any] = [c.name for c in model.columns] if model.named else range(len(model.columns))
    series = [_series(column, values) for column, values in zip(model.columns, columns, strict=True)]
    return pd.DataFrame(dict(zip(names, series, strict=True)))


def groups(model: ModelDir, columns: Sequence[Sequence[Any]]) -> list[list[int]]:
    """The rows' numbers, together where the same values are missing: in each group a row has its types alone.

    A column of whole numbers with one missing is a column of floats, and a text in it would become another one.
    """
    kinds = [
        values
        for column, values in zip(model.columns, columns, strict=True)
        if not column.required and column.type in CHANGED_BY_MISSING
    ]
    found: dict[tuple[bool, ...], list[int]] = {}
    for number, row in enumerate(zip(*kinds, strict=True) if kinds else [()] * len(columns[0])):
        found.setdefault(tuple(_is_missing(value) for value in row), []).append(number)
    return list(found.values())


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124 - NaN


def _series(column: Column, values: Sequence[Any]) -> Any:
    if column.type == "datetime":
        return pd.to_datetime(pd.Series(values)).dt.as_unit("ns")
    numpy_type = NUMPY_TYPES.get(column.type)
    if numpy_type is None:
        # Text: pandas infers, as for MLflow's server. Of nothing but NaN, as CSV has it, it would make numbers.
        return pd.Series(values, dtype=object if all(_is_missing(value) for value in values) else None)
    if column.type in CHANGED_BY_MISSING and None in values:
        numpy_type = np.float64  # pandas has no missing integers of numpy's types; this is what reading them gives
    return np.array(values, dtype=numpy_type)  # a missing boolean is false, as in MLflow's server
