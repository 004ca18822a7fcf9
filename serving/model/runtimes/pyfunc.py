"""Any MLflow model, through MLflow's generic wrapper: the slowest runtime, which serves every model.

It needs the model's libraries, and loading it may run the model's own code.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from serving.errors import Detail, InvalidRequestError, PredictionError
from serving.model.model_dir import ModelDir
from serving.model.predictions import Predictions
from serving.model.runtimes.answers import predictions_of
from serving.model.runtimes.frame import frame, groups
from serving.model.runtimes.grouped import in_groups

NAME = "pyfunc"
ENFORCED = "Failed to enforce schema"  # how the wrapper's errors about the signature begin
WHOLE = frozenset({"integer", "long"})


class PyfuncRuntime:
    """An MLflow model of any flavor. It gives no separate probabilities."""

    name = NAME
    classes = None
    rows_are_independent = False  # an arbitrary function of the whole table

    def __init__(self, model: ModelDir) -> None:
        self._model = model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of its own code when it is imported
            from mlflow.pyfunc import load_model

            self._pyfunc: Any = load_model(str(model.path))

    def run(self, columns: Sequence[Sequence[Any]], params: Mapping[str, Any] | None = None) -> Predictions:
        """Answer rows that come as columns. PredictionError: the model fails on them."""
        ask: Any = self._pyfunc.predict if params is None else partial(self._pyfunc.predict, params=dict(params))
        return in_groups(lambda part: self._run(ask, part), columns, groups(self._model, columns))

    def _run(self, ask: Callable[[Any], Any], columns: Sequence[Sequence[Any]]) -> Predictions:
        try:
            answer = ask(frame(self._model, columns))
        except InvalidRequestError:
            raise
        except (Exception, SystemExit) as error:  # a model may raise anything, and must not end the server
            if ENFORCED in str(error):
                self._refuse_missing(columns)
            raise PredictionError("the model failed on these rows") from error
        return predictions_of(answer, len(columns[0]))

    def _refuse_missing(self, columns: Sequence[Sequence[Any]]) -> None:
        """MLflow's wrapper takes no missing whole numbers, whatever the signature says of them."""
        message = "a value is required: MLflow's wrapper, which this model needs, takes no missing whole number"
        found = [
            Detail(("body", column.name), message, "missing")
            for column, values in zip(self._model.columns, columns, strict=True)
            if column.type in WHOLE and None in values
        ]
        if found:
            raise InvalidRequestError(found)
