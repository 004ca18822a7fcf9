"""``python -m ml.train``: train, measure and register one candidate version."""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.env_file import TRAINING, export_env_file
from ml.errors import INTERRUPTED, MlError
from ml.registry import client as tracking

if TYPE_CHECKING:
    from ml.training.fit import Fitted

DEFAULT_DATA_VERSION = "telco-churn-1"
MODEL_DIRECTORY = "model"  # inside the run's artifacts


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train. ``data_version`` is a label for people; the digest identifies the rows."""

    model: str = tracking.DEFAULT_MODEL
    data: Path | None = None  # None: the committed customers
    snapshots: Path | None = None  # what ml.snapshot wrote, in place of ``data``
    data_version: str = DEFAULT_DATA_VERSION
    regularisation: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainResult:
    """One registered candidate; :meth:`to_line` is what the command prints."""

    run_id: str
    model: str
    model_version: str
    accuracy: float
    metrics: Mapping[str, float]
    digest: str  # of the version's artifacts
    data_digest: str  # of all rows
    evaluation_digest: str  # of the rows it was measured on
    predictions_digest: str
    onnx: bool

    def to_line(self) -> str:
        """Return one line of JSON, numbers to four decimals."""
        metrics = {name: round(value, 4) for name, value in self.metrics.items()}
        return json.dumps({**asdict(self), "accuracy": round(self.accuracy, 4), "metrics": metrics})


def train(options: TrainOptions) -> TrainResult:
    """Fit, register and describe one version. MlError: no such data, no registry, or no access to it."""
    from ml import snapshot
    from ml.datasets import telco
    from ml.datasets.dataset import join, split
    from ml.training.fit import fit

    if options.snapshots:
        training, evaluation = snapshot.read(options.snapshots)
    else:
        training, evaluation = split(telco.load(options.data or telco.PATH))
    data_digest = join(training, evaluation).digest
    fitted = fit(training, evaluation, regularisation=options.regularisation, seed=options.seed)
    client = tracking.client()
    with tracking.registry_errors():
        run_id = _start_run(client, options, fitted, data_digest)
        try:
            result = _register(client, options, fitted, run_id)
        except BaseException:
            with contextlib.suppress(Exception):  # report the first error
                client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id)
    return TrainResult(
        run_id=run_id,
        model=options.model,
        accuracy=fitted.metrics["accuracy"],
        metrics=fitted.metrics,
        data_digest=data_digest,
        evaluation_digest=fitted.evaluation.digest,
        predictions_digest=fitted.predictions_digest,
        **result,
    )


def _start_run(client: Any, options: TrainOptions, fitted: "Fitted", data_digest: str) -> str:
    from mlflow.entities import Metric, Param

    from ml.training.provenance import COMMIT_TAG, revision

    now = time.time()
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or options.model
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    commit = revision()
    tags = {COMMIT_TAG: commit} if commit else {}
    run = client.create_run(experiment_id, run_name=f"candidate-{int(now)}", tags=tags)
    params = {
        "regularisation": options.regularisation,
        "seed": options.seed,
        "data_version": options.data_version,
        "data_digest": data_digest,
        "evaluation_digest": fitted.evaluation.digest,
        "training_rows": len(fitted.training),
        "evaluation_rows": len(fitted.evaluation),
    }
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, int(now * 1000), 0) for name, value in fitted.metrics.items()],
        params=[Param(name, str(value)) for name, value in params.items()],
    )
    return str(run.info.run_id)


def _register(client: Any, options: TrainOptions, fitted: "Fitted", run_id: str) -> dict[str, Any]:
    from ml.datasets import telco
    from ml.registry import versions as registry
    from ml.training import package
    from ml.training.provenance import data_tags
    from serving.model.digest import digest_tree

    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / MODEL_DIRECTORY
        no_twin = package.write(fitted, telco.COLUMNS, run_id, directory)
        if no_twin:
            sys.stderr.write(f"{no_twin}; the server will run scikit-learn instead\n")
        digest = digest_tree(directory)
        client.log_artifacts(run_id, str(directory), MODEL_DIRECTORY)
    tags = {registry.DIGEST_TAG: digest, "data_version": options.data_version, **data_tags(fitted, options.snapshots)}
    version = registry.register(client, options.model, run_id, tags)
    return {"model_version": str(version), "digest": digest, "onnx": no_twin is None}


def options_from(arguments: Sequence[str], environ: Mapping[str, str]) -> TrainOptions:
    """Parse the command line; MODEL_NAME and DATA_VERSION come from the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.train",
        description="Train, measure and register one candidate version.",
        epilog="Environment: MODEL_NAME (default churn-model); DATA_VERSION, a name for the data that is recorded"
        " with the run and the version (it selects nothing: --data does, and the digest of the rows is recorded too);"
        " MLFLOW_TRACKING_URI and MLflow's other variables."
        " Prints one line of JSON on stdout and all else on stderr. Exit codes: 0 registered, 1 failed, 2 usage.",
    )
    parser.add_argument("--data", type=Path, metavar="CSV", help="train on this file instead of the committed one")
    parser.add_argument("--snapshots", type=Path, metavar="DIR", help="train on what ml.snapshot wrote there")
    parser.add_argument(
        "--regularisation",
        type=_positive,
        default=1.0,
        metavar="C",
        help="inverse strength; smaller is simpler (1.0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="for solvers that draw random numbers (0)")
    given = parser.parse_args(arguments)
    return TrainOptions(
        model=tracking.model_name(environ=environ),
        data=given.data,
        snapshots=given.snapshots,
        data_version=environ.get("DATA_VERSION") or DEFAULT_DATA_VERSION,
        regularisation=given.regularisation,
        seed=given.seed,
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        export_env_file(*TRAINING)
        tracking.configure()
        options = options_from(sys.argv[1:] if arguments is None else arguments, os.environ)
        with contextlib.redirect_stdout(sys.stderr):  # MLflow prints to stdout
            result = train(options)
    except MlError as error:
        sys.stderr.write(f"training failed: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("training interrupted\n")
        return INTERRUPTED
    sys.stdout.write(result.to_line() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
