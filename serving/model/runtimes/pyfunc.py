"""Any MLflow model, through MLflow's generic wrapper: the slowest runtime, which serves every model.

It needs the model's libraries, and loading it may run the model's own code.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.errors import PredictionError
from serving.model.model_dir import ModelDir
from serving.model.predictions import Array, Predictions
from serving.model.runtimes.frame import frame

NAME = "pyfunc"


class PyfuncRuntime:
    """An MLflow model of any flavor. It gives no separate probabilities."""

    name = NAME
    rows_are_independent = False  # an arbitrary function of the whole table

    def __init__(self, model: ModelDir) -> None:
        self._model = model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of its own code when it is imported
            from mlflow.pyfunc import load_model

            self._pyfunc: Any = load_model(str(model.path))

    def run(self, columns: Sequence[Sequence[Any]], params: Mapping[str, Any] | None = None) -> Predictions:
        """Answer rows that come as columns. PredictionError: the model fails on them."""
        try:
            rows = frame(self._model, columns)
            answer = self._pyfunc.predict(rows, params=dict(params)) if params else self._pyfunc.predict(rows)
        except (Exception, SystemExit) as error:  # a model may raise anything, and must not end the server
            raise PredictionError("the model failed on these rows") from error
        return Predictions(_array(answer), None)


def _array(answer: Any) -> Array:
    """One element per row, as MLflow's own server would write it: a table is a list of records."""
    if hasattr(answer, "columns"):  # a pandas DataFrame
        return _objects(answer.to_dict("records"))
    if hasattr(answer, "to_numpy"):  # a pandas Series
        return np.asarray(answer.to_numpy())
    if isinstance(answer, Mapping):
        return _objects([dict(zip(answer, values, strict=True)) for values in zip(*answer.values(), strict=True)])
    return answer if isinstance(answer, np.ndarray) else _objects(list(answer))


def _objects(rows: Sequence[Any]) -> Array:
    array = np.empty(len(rows), dtype=object)
    for position, row in enumerate(rows):
        array[position] = row
    return array
