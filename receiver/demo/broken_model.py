"""A model that is broken on purpose: it answers well at first, and stops soon after its first answer.

MLflow runs this file when it loads the model (models from code).
"""

import time
from typing import Any

import mlflow.models
import mlflow.pyfunc

GOOD_SECONDS = 0.8


class Tiring(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow publishes no types
    """Says "no churn" until it is tired."""

    def __init__(self) -> None:
        self._first: float | None = None

    def predict(self, context: Any, model_input: Any, params: Any = None) -> list[int]:  # noqa: ARG002 - MLflow's
        """One 0 per row, as long as it lasts."""
        self._first = self._first or time.monotonic()
        if time.monotonic() - self._first > GOOD_SECONDS:
            raise RuntimeError("this model is broken on purpose: it got tired")
        return [0] * len(model_input)


mlflow.models.set_model(Tiring())
