from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from ml.dataset import Dataset
from ml.gates import CHECKS
from ml.gates.subject import Answers, Record, Subject


def subject_of(labels: list[int], positive: list[float]) -> Subject:
    data = Dataset(pd.DataFrame({"x": range(len(labels))}), np.array(labels), "sha256:0")
    records = [{"x": i} for i in range(len(labels))]

    def predict(asked: Sequence[Record]) -> Answers:
        chosen = np.array([positive[r["x"]] for r in asked])
        return Answers((chosen > 0.5).astype(int), np.column_stack([1 - chosen, chosen]))

    return Subject(data, predict(records), records, predict)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("accuracy", 0.75, "3 of 4 rows are decided right"),
        ("roc_auc", 0.75, "75.0%"),
        ("f1", 2 / 3, "1 of 2 positives are found, in 1 positive answers"),
        ("log_loss", 0.5362, "0.58"),
    ],
)
def test_a_check_measures_one_thing_and_says_it_in_a_sentence(name: str, value: float, says: str) -> None:
    measured = CHECKS[name](subject_of([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    if name == "log_loss":
        value = -np.mean(np.log([0.9, 0.6, 0.35, 0.8]))
        says = f"{np.exp(-value):.2f}"
    assert measured.value == pytest.approx(value, abs=1e-9)
    assert says in measured.says


def test_f1_is_zero_where_the_positive_class_is_neither_there_nor_found() -> None:
    assert CHECKS["f1"](subject_of([0, 0], [0.1, 0.2])).value == 0


def test_latency_is_that_of_single_rows_in_milliseconds() -> None:
    asked = []
    subject = subject_of([0, 1], [0.1, 0.9])

    def predict(records: Sequence[Record]) -> Answers:
        asked.append(len(records))
        return subject.predict(records)

    measured = CHECKS["latency_p95_ms"](Subject(subject.data, subject.answers, subject.records, predict))
    assert set(asked) == {1}
    assert 0 < measured.value < 1000


def test_a_check_of_probabilities_says_when_there_are_none() -> None:
    subject = subject_of([0, 1], [0.1, 0.9])
    without = Subject(subject.data, Answers(subject.answers.labels, None), subject.records, subject.predict)
    with pytest.raises(ValueError, match="no probabilities"):
        CHECKS["log_loss"](without)
