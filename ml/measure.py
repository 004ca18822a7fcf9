"""Ask one version about every evaluation row, through the predictor that will serve it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml.dataset import Dataset
from ml.gates.subject import Answers, Record, Subject


def load_subject(directory: Path, data: Dataset) -> Subject:
    """Load the version in ``directory`` and let it answer the rows of ``data``."""
    from mlflow.sklearn import load_model

    model: Any = load_model(str(directory))

    def predict(records: Sequence[Record]) -> Answers:
        rows = pd.DataFrame(list(records))
        return Answers(np.asarray(model.predict(rows)), np.asarray(model.predict_proba(rows)))

    records = to_records(data.features)
    return Subject(data=data, answers=predict(records), records=records, predict=predict)


def to_records(features: pd.DataFrame) -> list[Record]:
    """Return rows as a caller would send them: plain Python values, None for what is missing."""
    columns = {
        name: [None if gone else v for v, gone in zip(features[name].tolist(), features[name].isna(), strict=True)]
        for name in features
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
