"""The input of the checks: one version with its answers to the evaluation rows. Pure.

``ml/evaluation/measure.py`` loads the version.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ml.datasets.dataset import Dataset
from ml.reference import Reference
from serving.model.model_dir import Column
from serving.model.predictions import Predictions

Record = Mapping[str, Any]
Array = np.ndarray[Any, Any]


class RecordPredictor(Protocol):
    """Answers rows, as serving's predictor does."""

    def predict_records(self, records: Sequence[Record]) -> Predictions:
        """Answer rows as a caller would send them."""
        ...


@dataclass(frozen=True, slots=True)
class Served:
    """One row at a time through a server process of its own."""

    p50_ms: float
    p95_ms: float
    rows: int
    memory_mb: float
    runtime: str


@dataclass(frozen=True, slots=True, eq=False)
class Champion:
    """The version that is live in the environment, on the same rows."""

    name: str  # e.g. "churn-model v5"
    columns: Sequence[Column]
    outputs: str  # how its signature describes what it answers
    answers: Predictions | None  # None: it can't answer these rows, for the reason in ``unanswered``
    unanswered: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One version, the evaluation rows and its answers to them, all through serving's own predictor."""

    name: str
    data: Dataset
    records: Sequence[Record]  # the evaluation rows as a caller would send them
    predictor: RecordPredictor
    answers: Predictions
    columns: Sequence[Column]  # the signature
    outputs: str = ""  # how the signature describes what the model answers
    reference: Reference | None = None  # its training data, if recorded
    champion: Champion | None = None
    serve: Callable[[], Served] | None = None  # measures once, however often it is called

    @property
    def is_regression(self) -> bool:
        """The model answers with measured numbers."""
        fractions = "f" in (self.data.labels.dtype.kind, self.answers.labels.dtype.kind)
        return self.answers.probabilities is None and fractions

    def classes(self) -> list[Any]:
        """Return the label's values in order, the positive one last. ValueError: the model is no classifier."""
        if self.is_regression:
            raise ValueError("the model is a regression, and this check needs classes")
        return sorted(set(self.data.labels.tolist()) | set(self.answers.labels.tolist()))

    def positive_class(self) -> Any:
        """Return the last of two classes. ValueError: there are not two."""
        classes = self.classes()
        if len(classes) != 2:  # noqa: PLR2004 - yes and no
            raise ValueError(f"this check needs two classes, found {len(classes)}")
        return classes[-1]

    def probabilities(self) -> Array:
        """Return one probability per row and class. ValueError: the model gives none."""
        if self.answers.probabilities is None:
            raise ValueError("the model gives no probabilities")
        return self.answers.probabilities

    def positive(self) -> Array:
        """Return the probability of the positive class per row. ValueError: there is none."""
        self.positive_class()
        return np.asarray(self.probabilities()[:, -1])

    def numbers(self) -> tuple[Array, Array]:
        """Return labels and answers of a regression. ValueError: the model gives classes."""
        if not self.is_regression:
            raise ValueError("the model is a classifier, and this check needs a regression")
        return self.data.labels.astype(float), np.asarray(self.answers.labels, dtype=float)
