"""The one model that all servers serve, the rows that they are asked about, and what it says of them.

``python -m tests.bench.subject DIRECTORY`` prepares it in a process of its own: the one that measures stays free of
numpy and MLflow, whose pages would otherwise be shared with a server, and halve what that seems to need.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.environments import ROOT

MODEL = "bench-churn"
ROWS = 1000
PREPARE_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything that a server needs to be started and asked."""

    directory: str
    version: int
    digest: str
    model: str  # the directory of the MLflow model
    rows: list[dict[str, Any]]
    labels: list[int]  # by the original pipeline

    @property
    def place(self) -> Path:
        """Scratch space: cache/, model.joblib, mlserver/."""
        return Path(self.directory)


def prepared(directory: Path) -> Subject:
    """Train and register one version in an MLflow of its own, and fetch it as a receiver does."""
    argv = [sys.executable, "-m", "tests.bench.subject", str(directory)]
    quiet = {**os.environ, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    subprocess.run(argv, check=True, timeout=PREPARE_SECONDS, stdout=sys.stderr, env=quiet, cwd=ROOT)
    return Subject(**json.loads((directory / "subject.json").read_text()))


def _prepare(directory: Path) -> Subject:
    import joblib  # type: ignore[import-untyped]
    import mlflow.sklearn

    from ml.datasets import telco
    from receiver.adapters.mlflow.local_server import running_mlflow
    from serving.model.loader import Cache
    from tests.support.trained import train_into

    with running_mlflow(directory / "mlflow") as url:
        trained = train_into(url, MODEL)
        fetched = Cache(directory / "cache", url).fetch(MODEL, int(trained.model_version), trained.digest)
    pipeline = mlflow.sklearn.load_model(str(fetched.path))
    joblib.dump(pipeline, directory / "model.joblib")
    _for_mlserver(directory)
    features = telco.load().features.dropna().head(ROWS)
    return Subject(
        directory=str(directory),
        version=int(trained.model_version),
        digest=trained.digest,
        model=str(fetched.path),
        rows=json.loads(features.to_json(orient="records", double_precision=15)),
        labels=pipeline.predict(features).tolist(),
    )


def _for_mlserver(directory: Path) -> None:
    settings = {
        "name": "churn",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(directory / "model.joblib")},
    }
    (directory / "mlserver").mkdir()
    (directory / "mlserver/model-settings.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    subject = _prepare(Path(sys.argv[1]))
    (subject.place / "subject.json").write_text(json.dumps(asdict(subject)))
