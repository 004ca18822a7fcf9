"""The scikit-learn model itself, without the checks that MLflow's generic wrapper repeats for every call.

It needs the training libraries, and loading it may run the model's own code, as pickles do.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.errors import PredictionError, UnsupportedModelError
from serving.model.model_dir import ModelDir
from serving.model.predictions import Predictions
from serving.model.runtimes.frame import frame

NAME = "native"


class NativeRuntime:
    """A scikit-learn estimator and its probabilities."""

    name = NAME
    rows_are_independent = True

    def __init__(self, model: ModelDir) -> None:
        """UnsupportedModelError: not a scikit-learn model that answers with ``predict``."""
        if "sklearn" not in model.flavors or model.predict_fn != "predict":
            raise UnsupportedModelError("this is not a scikit-learn model that answers with predict")
        self._model = model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of its own code when it is imported
            from mlflow.sklearn import load_model

            self._estimator: Any = load_model(str(model.path))

    def run(self, columns: Sequence[Sequence[Any]], params: Mapping[str, Any] | None = None) -> Predictions:  # noqa: ARG002 - a model with params is not served here
        """Answer rows that come as columns. PredictionError: the estimator fails on them."""
        try:
            rows = frame(self._model, columns)
            labels = np.asarray(self._estimator.predict(rows))
            found = self._estimator.predict_proba(rows) if hasattr(self._estimator, "predict_proba") else None
        except (Exception, SystemExit) as error:  # an estimator may raise anything, and must not end the server
            raise PredictionError("scikit-learn could not run the model on these rows") from error
        # A classifier with several outputs gives a list of tables: several rows of probabilities per row.
        return Predictions(labels, None if found is None or isinstance(found, list) else np.asarray(found))
