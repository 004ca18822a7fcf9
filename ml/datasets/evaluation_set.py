"""The sources of evaluation rows: the held-out part of the customers, or a file of the user's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml import snapshot
from ml.datasets import telco
from ml.datasets.dataset import Dataset, arrange, split
from ml.datasets.own_rows import LABEL, own_rows
from ml.errors import DataError
from serving.model.model_dir import ModelDir

# The evaluation rows that fit a model's signature.
ReadRows = Callable[[ModelDir], Dataset]

KNOWN = frozenset(telco.COLUMNS.features)
PANDAS_TYPES = {"double": "float64", "float": "float64", "string": "str"}


def customers(path: Path | None) -> ReadRows:
    """Hold out the same quarter of the customers as training does; of the committed data if no file is named."""

    def read(model: ModelDir) -> Dataset:
        lacking = [column.name for column in model.columns if column.required and column.name not in KNOWN]
        if lacking:
            raise DataError(
                f"no rows were named, and the customers that Pinrail comes with have no {', '.join(lacking)}: put "
                f"rows with answers in `{LABEL}` into {own_rows('<model>')}, or name them with --data and --label"
            )
        return split(telco.load(path or telco.PATH))[1]

    return read


def snapshots(directory: Path) -> ReadRows:
    """Take the evaluation rows that ``ml.snapshot`` wrote."""
    return lambda _: snapshot.read(directory)[1]


def own_file(path: Path, label: str) -> ReadRows:
    """Take every row of a CSV file: the model's fields by name, the true answer in ``label``.

    Other columns are kept for slices and fairness, and not shown to the model. A model whose signature is one tensor
    has no field names: its fields are all other columns, in the order of the file.
    """
    return lambda model: _read(path, label, model)


def _read(path: Path, label: str, model: ModelDir) -> Dataset:
    types: dict[str, str] = {} if model.tensor else {c.name: _pandas_type(c.type, c.required) for c in model.columns}
    optional = [c.name for c in model.columns if not c.required]
    try:
        frame = pd.read_csv(
            path,
            dtype=types,
            keep_default_na=False,
            na_values={name: [""] for name in optional},
        )
        texts = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=lambda name: name == label)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: can't read it with the types of the model's signature: {error}") from error
    lacking = sorted({label, *types} - set(frame))
    if lacking:
        raise DataError(f"{path}: columns missing: {lacking}; found {list(frame)}")
    if not len(frame):
        raise DataError(f"{path}: the file has no rows")
    features = frame.drop(columns=label)
    if model.tensor:
        if features.shape[1] != len(model.columns):
            raise DataError(
                f"{path}: {features.shape[1]} columns besides {label}, but the model takes {len(model.columns)}"
            )
        features.columns = pd.Index([c.name for c in model.columns])
    return arrange(features, _labels(path, frame[label]), np.array(texts[label].tolist()))


def _pandas_type(kind: str, required: bool) -> str:
    # pandas' own integers and booleans can be missing
    if kind in {"integer", "long"}:
        return "int64" if required else "Int64"
    if kind == "boolean":
        return "bool" if required else "boolean"
    return PANDAS_TYPES.get(kind, "str")


def _labels(path: Path, values: pd.Series) -> np.ndarray[Any, Any]:
    if values.isna().any() or (values.astype(str) == "").any():
        raise DataError(f"{path}: {values.name}, the label, is empty in some rows")
    return np.array(values.tolist())
