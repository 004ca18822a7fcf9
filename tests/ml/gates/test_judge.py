import math

import pytest

from ml.environment.gate_schema import AtLeast, AtMost, AtMostShare, Threshold
from ml.evidence import CheckOutcome
from ml.gates.judge import judge


@pytest.mark.parametrize(
    ("value", "limit", "says"),
    [
        (0.8013, AtLeast(min=0.8), "PASS: accuracy=0.8013 >= 0.8"),
        (0.8, AtLeast(min=0.8), "PASS: accuracy=0.8 >= 0.8"),
        (0.8013, AtLeast(min=0.9), "FAIL: accuracy=0.8013 < 0.9"),
        (12.0, AtMost(max=50), "PASS: accuracy=12 <= 50"),
        (50.5, AtMost(max=50), "FAIL: accuracy=50.5 > 50"),
        (0.0, AtMostShare(max=0), "PASS: accuracy=0 <= 0"),
        (0.1, AtMostShare(max=0), "FAIL: accuracy=0.1 > 0"),
        (0.79999, AtLeast(min=0.8), "FAIL: accuracy=0.79999 < 0.8"),
        (0.80000004, AtMost(max=0.8), "FAIL: accuracy=0.80000004 > 0.8"),
        (0.79999999999, AtLeast(min=0.8), "FAIL: accuracy=0.79999999999 < 0.8"),
    ],
)
def test_the_line_says_the_relation_that_holds(value: float, limit: Threshold, says: str) -> None:
    assert str(judge("accuracy", value, limit, "")) == says


@pytest.mark.parametrize("limit", [AtLeast(min=0), AtMost(max=1)])
def test_what_is_no_number_fails(limit: Threshold) -> None:
    assert judge("roc_auc", math.nan, limit, "").outcome is CheckOutcome.FAIL
