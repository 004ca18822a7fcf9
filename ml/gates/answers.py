"""What one version answered to the evaluation rows, in the form that the checks compute with. Pure.

A version's probabilities stand under the names of its own classes, which may be more, or others, than the rows have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.model.predictions import array_of

Array = np.ndarray[Any, Any]

# What scikit-learn's log_loss takes for a probability of 0.
LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
SUM_TOLERANCE = 1e-3  # of a row's probabilities: 16-bit arithmetic is no further off


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """One value per row and, where the version gives them, one probability per class."""

    labels: Array  # [rows]: texts, numbers, or what else it answers (``several`` says what that is)
    probabilities: Array | None = None  # [rows, classes]
    classes: tuple[Any, ...] | None = None  # in the order of the probabilities; None: the version names none
    several: str = field(default="", kw_only=True)  # why these are not one value per row

    @classmethod
    def of(
        cls, values: Sequence[Any], probabilities: Array | None = None, classes: Sequence[Any] | None = None
    ) -> "Answers":
        """Read plain values, one per row. A list or record that holds one value stands for that value."""
        several = ""
        if len(shapes := _shapes(values)) == 1 and len(shapes.pop()) == 1:
            values = [next(iter(v.values())) if isinstance(v, Mapping) else v[0] for v in values]
        if _shapes(values) - {()}:
            first = next(value for value in values if isinstance(value, list | Mapping))
            named = f"the values {', '.join(map(str, first))[:200]}" if isinstance(first, Mapping) else "a list"
            several = f"the model answers a row with {named}, and this check needs one value per row"
        labels = array_of(values)
        if labels.dtype.kind == "O" and {type(value) for value in values} == {int, float}:
            labels = labels.astype(float)
        elif labels.dtype.kind == "O" and not several:
            several = "the model's answers are neither all texts nor all numbers, and this check needs that"
        table = None if probabilities is None else np.asarray(probabilities, dtype=float)
        return cls(labels, table, None if classes is None else tuple(classes), several=several)

    @property
    def are_texts(self) -> bool:
        """Whether the answers are texts."""
        return bool(self.labels.dtype.kind == "U")

    @property
    def are_classes(self) -> bool:
        """Whether the answers can't be measured numbers."""
        named = self.classes is not None or self.probabilities is not None
        return named or bool(self.labels.dtype.kind in "bOU")

    def shown(self, row: int) -> str:
        """Return the answer to a row as text: a class with its probability, or a number."""
        label = self.labels[row]
        if self.probabilities is None:
            return f"{label:.4g}" if isinstance(label, float) else str(label)
        return f"{label} ({self.probabilities[row].max():.0%})"

    def share_of(self, one: Any, seen: Sequence[Any]) -> Array:
        """Return the probability of a class per row: 0 if the version does not know it.

        Args:
            one: the class.
            seen: all classes that are known, which a version that names none of its own is taken to have.

        ValueError: there are no probabilities, or it is not known which is whose.
        """
        table, classes = self._table(seen)
        return _column(table, classes, one)

    def log_shares(self, truth: Array, seen: Sequence[Any]) -> Array:
        """Return the logarithm of the probability of each row's true class. ValueError: as for ``share_of``."""
        table, classes = self._table(seen)
        given = np.zeros(len(truth))
        for one in dict.fromkeys(truth.tolist()):
            rows = truth == one
            given[rows] = _column(table, classes, one)[rows]
        return np.asarray(np.log(np.clip(given, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)))

    def _table(self, seen: Sequence[Any]) -> tuple[Array, list[Any]]:
        if self.probabilities is None:
            raise ValueError("the model gives no probabilities")
        table, classes = self.probabilities, list(seen if self.classes is None else self.classes)
        if len(classes) != table.shape[1]:
            raise ValueError(
                f"the model gives {table.shape[1]} probabilities per row and does not name their classes, and there"
                f" are {len(classes)} ({', '.join(map(str, classes))[:200]}): write its ONNX twin again with"
                " ml.onnx_twin.add, which records the classes"
            )
        off = (table < 0).any(axis=1) | (np.abs(table.sum(axis=1) - 1) > SUM_TOLERANCE)
        if off.any():
            row = int(np.argmax(off))
            raise ValueError(f"the model's probabilities for row {row} are none: {table[row].tolist()!r:.200}")
        return table, classes


def _column(table: Array, classes: Sequence[Any], one: Any) -> Array:
    return np.asarray(table[:, classes.index(one)]) if one in classes else np.zeros(len(table))


def _shapes(values: Sequence[Any]) -> set[tuple[Any, ...]]:
    """What holds the values: for each kind of record its keys, for each length of list its positions."""
    return {
        tuple(value) if isinstance(value, Mapping) else tuple(range(len(value))) if isinstance(value, list) else ()
        for value in values
    }
