"""What a check looks at, and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.dataset import Dataset

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a model says: one label per row and, from a classifier that gives them, one probability per class."""

    labels: np.ndarray[Any, Any]
    probabilities: np.ndarray[Any, Any] | None

    def positive(self) -> np.ndarray[Any, Any]:
        """Return the probability of the last class per row. ValueError: the model gives no probabilities."""
        if self.probabilities is None:
            raise ValueError("the model gives no probabilities")
        return np.asarray(self.probabilities[:, -1])


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One version, the evaluation rows and its answers to them, all through serving's own predictor."""

    data: Dataset
    answers: Answers
    records: Sequence[Record]  # the evaluation rows as a caller would send them
    predict: Callable[[Sequence[Record]], Answers]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number, and a sentence about it for a person."""

    value: float
    says: str


Check = Callable[[Subject], Measurement]
