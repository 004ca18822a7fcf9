"""The scikit-learn model itself, without the checks that MLflow's generic wrapper repeats for every call.

It needs the training libraries, and loading it may run the model's own code, as pickles do.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from serving.errors import InvalidRequestError, PredictionError, UnsupportedModelError
from serving.model.model_dir import ModelDir
from serving.model.predictions import Array, Predictions
from serving.model.runtimes.answers import predictions_of
from serving.model.runtimes.frame import frame, groups
from serving.model.runtimes.grouped import in_groups
from serving.model.runtimes.rowwise import answers_row_by_row

log = logging.getLogger(__name__)

NAME = "native"
LOADER = "mlflow.sklearn"
TABLE_RANK = 2


class NativeRuntime:
    """A scikit-learn estimator and its probabilities."""

    name = NAME

    def __init__(self, model: ModelDir) -> None:
        """UnsupportedModelError: not a scikit-learn model that answers with ``predict``."""
        if "sklearn" not in model.flavors or model.loader != LOADER or model.predict_fn != "predict":
            raise UnsupportedModelError("this is not a scikit-learn model that answers with predict")
        self._model = model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of its own code when it is imported
            from mlflow.sklearn import load_model

            self._estimator: Any = load_model(str(model.path))
        self.rows_are_independent = answers_row_by_row(self._estimator)
        self._gives_probabilities = hasattr(self._estimator, "predict_proba")
        self.classes = _classes(self._estimator)

    def run(self, columns: Sequence[Sequence[Any]], params: Mapping[str, Any] | None = None) -> Predictions:  # noqa: ARG002 - a model with params is not served here
        """Answer rows that come as columns. PredictionError: the estimator fails on them."""
        return in_groups(self._run, columns, groups(self._model, columns))

    def _run(self, columns: Sequence[Sequence[Any]]) -> Predictions:
        try:
            rows = frame(self._model, columns)
            answer = self._estimator.predict(rows)
        except InvalidRequestError:
            raise
        except (Exception, SystemExit) as error:  # an estimator may raise anything, and must not end the server
            raise PredictionError("scikit-learn could not run the model on these rows") from error
        predictions = predictions_of(answer, len(columns[0]))
        return replace(predictions, probabilities=self._probabilities(rows, len(predictions)))

    def _probabilities(self, rows: Any, count: int) -> Array | None:
        if not self._gives_probabilities:
            return None
        try:
            found = self._estimator.predict_proba(rows)
        except (Exception, SystemExit):  # MLflow answers such a model, because it does not ask for them
            log.warning("served without probabilities: predict_proba fails where predict answers", exc_info=True)
            self._gives_probabilities = False
            return None
        # A classifier of several outputs gives a list, with a table for each: no one row of probabilities per row.
        if isinstance(found, list):
            return None
        table = np.asarray(found)
        return table if table.ndim == TABLE_RANK and len(table) == count and table.dtype.kind == "f" else None


def _classes(estimator: Any) -> tuple[Any, ...] | None:
    """A classifier's classes as plain values; None: it is none, or has several outputs."""
    try:
        values = np.asarray(estimator.classes_).tolist()
    except (AttributeError, ValueError):
        return None
    return tuple(values) if all(isinstance(value, str | int | float) for value in values) else None
