"""What a model's ``predict`` returned, as one answer per row: what MLflow's own server would write of it."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.errors import PredictionError
from serving.model.predictions import PLAIN_KINDS, Array, Layout, Predictions, array_of, objects

PLAIN_BYTES = 8  # longer floats are none of JSON's


def predictions_of(answer: Any, rows: int) -> Predictions:
    """Read an array, a table, a series, a list, or a dict of columns.

    PredictionError: it is none of these, does not hold one answer per row, or holds what JSON has no place for.
    """
    if isinstance(answer, np.ndarray):
        if answer.ndim == 0:
            raise _not_one_per_row("one value", rows)
        return _checked(Predictions(_plain_array(answer), None), rows)
    if hasattr(answer, "columns") and hasattr(answer, "to_dict"):  # a pandas DataFrame
        return _checked(Predictions(objects(_plain(answer.to_dict("records"))), None), rows)
    if hasattr(answer, "to_frame") and hasattr(answer, "to_numpy"):  # a pandas Series
        records = _plain(answer.to_frame().to_dict("records"))
        name = next(iter(records[0])) if records else "0"
        labels = array_of([record[name] for record in records])
        return _checked(Predictions(labels, None, Layout(series=name)), rows)
    if isinstance(answer, Mapping):
        return _from_columns(_plain(answer), rows)
    if isinstance(answer, list | tuple):
        return _checked(Predictions(array_of(_plain(answer)), None), rows)
    raise _not_one_per_row(f"a value of type {type(answer).__name__}", rows)


def _from_columns(columns: Mapping[str, Any], rows: int) -> Predictions:
    for name, values in columns.items():
        if not isinstance(values, list) or len(values) != rows:
            found = f"{len(values)} values" if isinstance(values, list) else "one value"
            raise _not_one_per_row(f"a dict with {found} under {name!r}", rows)
    if not columns:
        raise _not_one_per_row("an empty dict", rows)
    records = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Predictions(objects(records), None, Layout(columns=True))


def _checked(predictions: Predictions, rows: int) -> Predictions:
    if len(predictions) != rows:
        raise _not_one_per_row(f"{len(predictions)} answers", rows)
    return predictions


def _not_one_per_row(found: str, rows: int) -> PredictionError:
    return PredictionError(f"the model answered with {found} where {rows} rows were asked: it must give one per row")


def _plain_array(array: Array) -> Array:
    if array.dtype.kind in PLAIN_KINDS and (array.dtype.kind == "U" or array.dtype.itemsize <= PLAIN_BYTES):
        return array
    return array_of(_plain(array.tolist()))


def _plain(value: Any) -> Any:
    """The value as it is after MLflow's server has written it and a client has read it. PredictionError: it can't."""
    from mlflow.utils.proto_json_utils import NumpyEncoder

    try:
        return json.loads(json.dumps(value, cls=NumpyEncoder))
    except (TypeError, ValueError, RecursionError) as error:
        raise PredictionError(f"the model's answer can't be written as JSON: {error}") from error
