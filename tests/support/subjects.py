"""Subjects made of plain functions: what a check says should follow from a few rows that a person can read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ml.datasets.dataset import Dataset
from ml.evaluation.records import to_records
from ml.gates.answers import Answers
from ml.gates.subject import Record, Subject
from serving.model.model_dir import Column

TYPES = {"i": "long", "f": "double", "b": "boolean"}


class Plain:
    """A model that is a function from one record to the probability of class 1, or to a number."""

    def __init__(self, function: Callable[[Record], float], *, regression: bool = False) -> None:
        self.function = function
        self.regression = regression

    def predict_records(self, records: Sequence[Record]) -> Answers:
        numbers = np.array([self.function(record) for record in records], dtype=float)
        if self.regression:
            return Answers(numbers)
        return Answers((numbers > 0.5).astype(int), np.column_stack([1 - numbers, numbers]), (0, 1))


def make_subject(
    columns: Mapping[str, Sequence[Any]], labels: Sequence[Any], model: Plain, optional: Sequence[str] = ()
) -> Subject:
    """The model's answers to the rows in ``columns``; ``optional`` names the fields that may be missing."""
    features = pd.DataFrame(columns)
    signature = tuple(
        Column(name, TYPES.get(features[name].dtype.kind, "string"), name not in optional) for name in features
    )
    records = to_records(features, signature)
    data = Dataset(features, np.array(labels), "sha256:0")
    return Subject("m v2", data, records, model, model.predict_records(records), signature)
