"""A model's answer to some rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serving.errors import PredictionError

Array = np.ndarray[Any, Any]

# Arrays of these kinds hold nothing but values that JSON has.
PLAIN_KINDS = "biufU"


@dataclass(frozen=True, slots=True)
class Layout:
    """How MLflow's server writes answers that the model gave in another form than a list."""

    series: str | None = None  # a pandas Series of this name: a record with this one key for each row
    columns: bool = False  # a dict of columns; the labels are its rows


ROWS = Layout()


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """One label per row and, if the classifier gives them, one probability per class."""

    labels: Array  # [rows], or [rows, outputs] of a model with several outputs; plain values that JSON has
    probabilities: Array | None  # [rows, classes]
    layout: Layout = ROWS

    def __len__(self) -> int:
        return len(self.labels)

    def as_mlflow(self) -> Any:
        """The whole answer as MLflow's server writes it."""
        labels: list[Any] = self.labels.tolist()
        if self.layout.series is not None:
            return [{self.layout.series: label} for label in labels]
        if self.layout.columns and labels:
            return {name: [label[name] for label in labels] for name in labels[0]}
        return labels

    def part(self, start: int, stop: int) -> "Predictions":
        """The answers to some of the rows."""
        probabilities = None if self.probabilities is None else self.probabilities[start:stop]
        return Predictions(self.labels[start:stop], probabilities, self.layout)  # on the hot path: replace() is slow

    def take(self, order: Array) -> "Predictions":
        """The answers to the rows with these numbers."""
        probabilities = None if self.probabilities is None else self.probabilities[order]
        return replace(self, labels=self.labels[order], probabilities=probabilities)

    def check(self, rows: int) -> None:
        """PredictionError: not one answer per row, or a number that is not finite, which JSON cannot hold."""
        if len(self.labels) != rows:
            raise PredictionError(f"the model answered {len(self.labels)} rows, expected {rows}")
        for numbers in (self.probabilities, self.labels):
            if numbers is not None and numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
                raise _not_finite(int(np.argwhere(~np.isfinite(numbers))[0][0]))
        if self.labels.dtype.kind == "O":
            for row, label in enumerate(self.labels):
                if not _is_finite(label):
                    raise _not_finite(row)


def array_of(values: Sequence[Any]) -> Array:
    """Plain values as an array that gives them back unchanged: of numbers or texts, where all are of one type."""
    kinds = _types(values)
    if len(kinds) == 1 and kinds <= {bool, int, float, str}:
        try:
            array = np.array(values)
        except ValueError:  # nested lists of different lengths
            return objects(values)
        if array.dtype.kind in PLAIN_KINDS and array.dtype.kind != "u" and array.tolist() == list(values):
            return array
    return objects(values)


def objects(rows: Sequence[Any]) -> Array:
    """One element per row, whatever it is."""
    array = np.empty(len(rows), dtype=object)
    for position, row in enumerate(rows):
        array[position] = row
    return array


def _types(value: Any) -> set[type]:
    """The types of all elements, however deep in lists."""
    found: set[type] = set()
    for element in value:
        found |= _types(element) if isinstance(element, list) else {type(element)}
    return found


def concatenated(parts: Sequence[Predictions]) -> Predictions:
    """The answers to the rows of all parts, each as it was: a whole number beside a fraction stays one."""
    tables = [part.probabilities for part in parts if part.probabilities is not None]
    probabilities = np.concatenate(tables) if len(tables) == len(parts) else None
    labels = [part.labels for part in parts]
    if len({(array.dtype.kind, array.shape[1:]) for array in labels}) > 1:
        joined = objects([value for array in labels for value in array.tolist()])
    else:
        joined = np.concatenate(labels)
    return replace(parts[0], labels=joined, probabilities=probabilities)


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_finite(part) for part in value.values())
    if isinstance(value, list | tuple | np.ndarray):
        return all(_is_finite(part) for part in value)
    return not isinstance(value, float | np.floating) or math.isfinite(value)


def _not_finite(row: int) -> PredictionError:
    return PredictionError(f"the model's answer to row {row} is not a finite number")
