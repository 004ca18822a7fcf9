"""Registers the model that is broken on purpose, without training or gate."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

from ml.registry import versions as registry


def register_broken(client: Any, model: str, like: Path) -> int:
    """Register a version with the signature and the input example of the model at ``like``; returns its number."""
    import mlflow.pyfunc
    from mlflow.models import Model

    good = Model.load(str(like))
    run_id = str(client.create_run("0", run_name="broken-on-purpose").info.run_id)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own: type hints, and a comparison that pandas deprecates
        directory = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            str(directory),
            python_model=str(Path(__file__).with_name("broken_model.py")),
            mlflow_model=Model(run_id=run_id),
            signature=good.signature,
            input_example=good.load_input_example(str(like)),
            pip_requirements=["mlflow"],
        )
        client.log_artifacts(run_id, str(directory), "model")
    client.set_terminated(run_id)
    return registry.register(client, model, run_id, {})
