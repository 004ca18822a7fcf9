"""Columns as the pandas DataFrame that MLflow would build from the same request."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from serving.model.model_dir import Column, ModelDir

NUMPY_TYPES = {"boolean": np.bool_, "integer": np.int32, "long": np.int64, "float": np.float32, "double": np.float64}


def frame(model: ModelDir, columns: Sequence[Sequence[Any]]) -> Any:
    """The model's input: a DataFrame, or an array where the signature is a tensor."""
    if model.tensor:
        return np.array(columns, dtype=model.tensor).T
    return pd.DataFrame({c.name: _series(c, values) for c, values in zip(model.columns, columns, strict=True)})


def _series(column: Column, values: Sequence[Any]) -> Any:
    numpy_type = NUMPY_TYPES.get(column.type)
    if column.type == "datetime":
        return pd.to_datetime(pd.Series(values))
    if numpy_type is None:
        return pd.Series(values)  # text: pandas infers, as it does for MLflow's server
    if numpy_type not in {np.float32, np.float64} and None in values:
        # numpy's integers and booleans cannot be missing in pandas; it reads such columns with these types.
        numpy_type = np.object_ if numpy_type is np.bool_ else np.float64
    return np.array(values, dtype=numpy_type)
