"""What MLflow's own scoring server answers, without its socket."""

import json
from pathlib import Path
from typing import Any


class MlflowAnswers:
    """What ``mlflow models serve`` runs for a request, without its socket."""

    def __init__(self, directory: Path) -> None:
        from mlflow.pyfunc import load_model

        self.model = load_model(str(directory))
        self.schema = self.model.metadata.get_input_schema()

    def ask(self, body: bytes, kind: str) -> Any:
        """Its predictions; None where it has no answer, or none that is JSON."""
        from mlflow.pyfunc.scoring_server import invocations

        try:
            said = invocations(body, kind, self.model, self.schema)
            return json.loads(said.response, parse_constant=_refuse)["predictions"] if said.status == 200 else None
        except Exception:  # noqa: BLE001 - whatever it raises, MLflow's server would have no answer
            return None


def _refuse(name: str) -> None:
    raise ValueError(name)
