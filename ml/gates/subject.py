"""The input of the checks: one version with its answers to the evaluation rows. Pure.

``ml/evaluation/measure.py`` loads the version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ml.datasets.dataset import Dataset
from ml.datasets.reference import Reference
from ml.datasets.request_log import RequestLog
from ml.gates.answers import Answers, Array
from serving.model.model_dir import Column

Record = Mapping[str, Any]
MISSING = "(missing)"  # the category of rows without a value


class RecordPredictor(Protocol):
    """Answers rows, as a model server does."""

    def predict_records(self, records: Sequence[Record]) -> Answers:
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
    answers: Answers | None  # None: it can't answer these rows, for the reason in ``unanswered``
    unanswered: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One version, the evaluation rows and its answers to them, as its callers would get them."""

    name: str
    data: Dataset
    records: Sequence[Record]  # the evaluation rows as a caller would send them
    predictor: RecordPredictor
    answers: Answers
    columns: Sequence[Column]  # the signature
    outputs: str = ""  # how the signature describes what the model answers
    reference: Reference | None = None  # its training data, if recorded
    champion: Champion | None = None
    served: Served | None = None  # None: no check asked for it
    positive: Any = None  # the gate's `positive:`
    log: RequestLog | None = None  # of the live version, where it is on this machine

    def truth(self, answers: Answers | None = None) -> Array:
        """Return the labels, as texts where the answers (this version's, or a champion's) are texts.

        ValueError: the answers are not one value per row, or no label can ever equal one.
        """
        answers = self.answers if answers is None else answers
        if answers.several:
            raise ValueError(answers.several)
        labels, texts = self.data.labels, self.data.label_texts
        if answers.are_texts and labels.dtype.kind != "U" and texts is not None:
            labels = texts
        if answers.are_texts != (labels.dtype.kind == "U"):
            raise ValueError(
                f"the labels are {_some(labels)}, and the model answers {_some(answers.labels)}: write the labels as"
                " the model answers"
            )
        return labels

    def right(self, answers: Answers | None = None) -> Array:
        """Say per row whether the answer is the label. ValueError: as for ``truth``."""
        answers = self.answers if answers is None else answers
        return np.asarray(answers.labels == self.truth(answers), dtype=bool)

    @property
    def is_regression(self) -> bool:
        """The model answers with measured numbers."""
        fractions = "f" in (self.data.labels.dtype.kind, self.answers.labels.dtype.kind)
        return not self.answers.are_classes and fractions

    def classes(self, answers: Answers | None = None) -> list[Any]:
        """Return every class, in order: the rows' labels, the answers, and those that the model names.

        ValueError: the model is no classifier.
        """
        answers, truth = self.answers if answers is None else answers, self.truth(answers)
        fractions = truth.dtype.kind == "f" and bool((truth % 1 != 0).any())
        if not answers.are_classes and (answers.labels.dtype.kind == "f" or fractions):
            raise ValueError("the model is a regression, and this check needs classes")
        try:
            return sorted({*truth.tolist(), *answers.labels.tolist(), *(answers.classes or ())})
        except TypeError:
            raise ValueError(f"the model names classes of several types: {_some(answers.classes or ())}") from None

    def positive_class(self) -> Any:
        """Return the class that the gate names as `positive:`, or the last of two.

        ValueError: there are not two and none is named, or there is no class of that name.
        """
        classes = self.classes()
        if self.positive is not None:
            found = [c for c in classes if c == self.positive] or [c for c in classes if str(c) == str(self.positive)]
            if not found:
                raise ValueError(f"`positive: {self.positive}` is none of the classes {_some(classes)}")
            return found[0]
        if len(classes) != 2:  # noqa: PLR2004 - yes and no
            raise ValueError(
                f"this check needs two classes, found {len(classes)}: name one with `positive:` in the gate"
            )
        return classes[-1]

    def positive_says(self) -> str:
        """Say which class is the positive one, and why."""
        why = "as the gate says" if self.positive is not None else f"the last of {_some(self.classes())}"
        return f"positive is {self.positive_class()}, {why}"

    def positive_share(self, answers: Answers | None = None) -> Array:
        """Return the probability of the positive class per row. ValueError: there is none."""
        answers = self.answers if answers is None else answers
        return answers.share_of(self.positive_class(), self.classes(answers))

    def log_shares(self, answers: Answers | None = None) -> Array:
        """Return the logarithm of the probability that each row's label was given. ValueError: there is none."""
        answers = self.answers if answers is None else answers
        return answers.log_shares(self.truth(answers), self.classes(answers))

    def numbers(self, answers: Answers | None = None) -> tuple[Array, Array]:
        """Return labels and answers of a regression. ValueError: the model gives classes."""
        answers, truth = self.answers if answers is None else answers, self.truth(answers)
        if answers.are_classes:
            raise ValueError("the model is a classifier, and this check needs a regression")
        return truth.astype(float), answers.labels.astype(float)

    def categories(self, column: str) -> Array:
        """Return a column of the evaluation data as texts, :data:`MISSING` among them. ValueError: no such column."""
        if column not in self.data.features:
            raise ValueError(f"the evaluation data has no column {column}")
        values = self.data.features[column]
        texts = [MISSING if gone else str(v) for v, gone in zip(values.tolist(), values.isna(), strict=True)]
        return np.array(texts)


def _some(values: Sequence[Any] | Array) -> str:
    """Name the first few distinct values."""
    found = sorted({str(v) for v in values})
    return ", ".join(found[:5])[:200] + (", ..." if len(found) > 5 else "")  # noqa: PLR2004 - enough to recognise them
