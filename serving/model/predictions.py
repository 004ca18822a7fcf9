"""A model's answer to some rows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import PredictionError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """One label per row and, if the classifier gives them, one probability per class."""

    labels: Array  # [rows], or [rows, outputs] of a model with several outputs
    probabilities: Array | None  # [rows, classes]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> "Predictions":
        """The answers to some of the rows."""
        probabilities = None if self.probabilities is None else self.probabilities[start:stop]
        return Predictions(self.labels[start:stop], probabilities)

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


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_finite(part) for part in value.values())
    if isinstance(value, list | tuple | np.ndarray):
        return all(_is_finite(part) for part in value)
    return not isinstance(value, float | np.floating) or math.isfinite(value)


def _not_finite(row: int) -> PredictionError:
    return PredictionError(f"the model's answer to row {row} is not a finite number")
