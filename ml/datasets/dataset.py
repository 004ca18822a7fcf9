"""Labelled rows: equal rows have the same digest, in any order. No model here."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml.errors import DataError

EVALUATION_SHARE = 0.25

# Part of the split's definition: another text gives another split, and metrics are no longer comparable. With this
# one, a model's score on the committed customers is close to its ten-fold cross-validation score.
SPLIT_NAME = b"pinrail split 3\n"


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What a data file holds: the type of each feature (int, float or str), and the label's values in order."""

    features: Mapping[str, type]  # in canonical order
    missing: frozenset[str]  # float features that may be empty
    label: str
    classes: tuple[str, ...]  # the label's text for class 0, 1, ...


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Features and labels in canonical order of rows and columns."""

    features: pd.DataFrame
    labels: np.ndarray[Any, Any]  # class numbers, class names, or measured numbers
    digest: str  # sha256:<hex> over the rows
    label_texts: np.ndarray[Any, Any] | None = None  # the labels as the file has them: "1" may be a name

    def __len__(self) -> int:
        return len(self.labels)


def read(path: Path, columns: Columns) -> Dataset:
    """Read a CSV file (compressed or not). DataError: missing, extra, empty or ill-typed columns, unknown labels."""
    dtypes: dict[str, Any] = {**columns.features, columns.label: str}
    try:
        frame = pd.read_csv(
            path,
            dtype=dtypes,
            keep_default_na=False,  # "None" and "NA" are ordinary texts
            na_values={name: [""] for name in columns.missing},
        )
    except (OSError, EOFError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{path}: can't read the data: {error}") from error
    _require_columns(path, frame, dtypes)
    for name, kind in dtypes.items():
        if kind is str and (frame[name] == "").any():
            raise DataError(f"{path}: column {name} is empty in {(frame[name] == '').sum()} rows")
    unknown = sorted(set(frame[columns.label]) - set(columns.classes))
    if unknown:
        raise DataError(f"{path}: label {columns.label} has {unknown}; expected {list(columns.classes)}")
    labels = frame[columns.label].map({text: code for code, text in enumerate(columns.classes)})
    return arrange(frame[list(columns.features)], labels.to_numpy(dtype=np.int64))


def _require_columns(path: Path, frame: pd.DataFrame, wanted: Mapping[str, Any]) -> None:
    lacking, extra = sorted(set(wanted) - set(frame)), sorted(set(frame) - set(wanted))
    if lacking or extra:
        raise DataError(f"{path}: columns missing: {lacking or 'none'}; unknown columns: {extra or 'none'}")


def arrange(
    features: pd.DataFrame, labels: np.ndarray[Any, Any], label_texts: np.ndarray[Any, Any] | None = None
) -> Dataset:
    """Sort the rows by their content and digest them. The order of columns is kept, but does not count."""
    lines = [f"{row}\t{label}" for row, label in zip(row_texts(features), labels.tolist(), strict=True)]
    order = sorted(range(len(lines)), key=lines.__getitem__)
    hasher = hashlib.sha256(json.dumps(sorted(features)).encode())
    for index in order:
        hasher.update(b"\n" + lines[index].encode())
    return Dataset(
        features=features.iloc[order].reset_index(drop=True),
        labels=labels[order],
        digest=f"sha256:{hasher.hexdigest()}",
        label_texts=None if label_texts is None else label_texts[order],
    )


def join(one: Dataset, other: Dataset) -> Dataset:
    """Join the two parts of a split."""
    features = pd.concat([one.features, other.features], ignore_index=True)
    return arrange(features, np.concatenate([one.labels, other.labels]))


def row_texts(features: pd.DataFrame) -> Sequence[str]:
    """One text per row; equal content gives equal text, whatever the order of columns. Missing is ``null``."""
    columns = []
    for name in sorted(features):
        values = features[name]
        columns.append([None if gone else v for v, gone in zip(values.tolist(), values.isna(), strict=True)])
    return [json.dumps(row, default=str) for row in zip(*columns, strict=True)]


def split(data: Dataset) -> tuple[Dataset, Dataset]:
    """Split the rows into training and evaluation, each row by the hash of its features alone.

    So a row's part never depends on other rows, their order or a seed, and two customers with equal features are in
    the same part.
    """
    limit = int(EVALUATION_SHARE * 2**64)
    held_out = np.array([_hash64(text) < limit for text in row_texts(data.features)], dtype=bool)
    return (
        arrange(data.features[~held_out], data.labels[~held_out]),
        arrange(data.features[held_out], data.labels[held_out]),
    )


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(SPLIT_NAME + text.encode()).digest()[:8])
