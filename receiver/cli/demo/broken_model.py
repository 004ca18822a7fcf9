"""A model that is broken on purpose: it answers a few times and then fails.

MLflow runs this file when it loads the model (models from code).
"""

from typing import Any

import mlflow.models
import mlflow.pyfunc

GOOD_ANSWERS = 10  # enough to load, warm up, pass a smoke test and answer once under watch


class FailsAfterAFew(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow publishes no types
    """Answers "no churn" a few times and then fails."""

    def __init__(self) -> None:
        self._answers = 0

    def predict(self, context: Any, model_input: Any, params: Any = None) -> list[int]:  # noqa: ARG002 - MLflow's
        """One 0 per row for the first answers. RuntimeError: afterwards."""
        self._answers += 1
        if self._answers > GOOD_ANSWERS:
            raise RuntimeError("this model is broken on purpose: it fails after a few answers")
        return [0] * len(model_input)


mlflow.models.set_model(FailsAfterAFew())
