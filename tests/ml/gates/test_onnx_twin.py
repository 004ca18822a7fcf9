from typing import Any

import numpy as np
import pytest

from ml.evidence import CheckOutcome
from ml.gates.answers import Answers
from ml.gates.onnx_twin import check

TABLE = np.array([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("labels", "table", "off"),
    [
        ([1, 0, 1], TABLE, 0),
        ([1, 0, 0], TABLE, 0),  # level: either is right
        ([1, 0, 1], TABLE + np.array([5e-6, -5e-6]), 0),
        ([0, 0, 1], TABLE, 1),
        ([1, 0, 1], TABLE + np.array([1e-4, -1e-4]), 3),
        ([1, 0, 1], TABLE[:, :1], 3),
    ],
)
def test_a_twin_may_differ_by_its_arithmetic_and_no_more(labels: list[int], table: Any, off: int) -> None:
    verdicts = check(Answers.of(labels, table, (0, 1)), Answers.of([1, 0, 1], TABLE, (0, 1)))
    assert [(v.outcome, v.value) for v in verdicts] == ([(CheckOutcome.FAIL, off)] if off else [])


def test_numbers_are_compared_in_their_size() -> None:
    original = Answers.of([1.0, 1e6, 0.0])
    assert check(Answers.of([1.00001, 1e6 + 10, 1e-7]), original) == []
    assert check(Answers.of([1.01, 1e6, 0.0]), original)[0].value == 1
