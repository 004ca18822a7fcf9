"""The signature of a model: the types that its callers see."""

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from ml.datasets.dataset import Columns

# An integer column can't be missing in pandas, so only floats may be optional. MLflow and our own server both take
# a JSON integer for a double.
TYPES = {int: DataType.long, float: DataType.double, str: DataType.string}


def signature_of(columns: Columns) -> ModelSignature:
    """Return features in canonical order, each required unless it may be missing, and one class number per row."""
    inputs = [
        ColSpec(TYPES[kind], name, required=name not in columns.missing) for name, kind in columns.features.items()
    ]
    return ModelSignature(Schema(inputs), Schema([TensorSpec(np.dtype(np.int64), (-1,))]))
