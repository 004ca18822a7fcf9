"""Write a fitted model as an MLflow model directory, its ONNX twin and a description of its training data inside."""

import warnings
from importlib.metadata import version
from pathlib import Path

import mlflow.sklearn
from mlflow.models import Model

from ml import onnx_twin
from ml.datasets import reference
from ml.datasets.dataset import Columns
from ml.training.fit import Fitted
from ml.training.signature import signature_of

# What loading the scikit-learn flavour needs. Named here because MLflow would otherwise load the model in a
# subprocess to find out, which takes longer than the training.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "skops")

EXAMPLE_ROWS = 3


def write(fitted: Fitted, columns: Columns, run_id: str, directory: Path) -> str | None:
    """Write the model directory. Returns why it has no ONNX twin, or None when it has one.

    The scikit-learn model is written with skops: unlike a pickle, it runs no code when it is loaded, and names the
    types that it needs (beyond scikit-learn's own, only ``numpy.dtype``).
    """
    example = fitted.evaluation.features.dropna().head(EXAMPLE_ROWS)
    with warnings.catch_warnings():
        # MLflow warns of its own: type hints of its chat models, and a comparison that pandas 4 will read otherwise.
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            fitted.pipeline,
            str(directory),
            mlflow_model=Model(run_id=run_id),
            serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
            skops_trusted_types=["numpy.dtype"],
            signature=signature_of(columns),
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )
    described = reference.describe(fitted.training.features, fitted.training.digest)
    (directory / reference.PATH).parent.mkdir()
    (directory / reference.PATH).write_text(described.to_json())
    return onnx_twin.add(fitted.pipeline, fitted.evaluation.features, directory)
