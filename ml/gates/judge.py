"""Compare a value with its limit. Pure."""

import math

from ml.environment.gate_schema import Threshold
from ml.evidence import CheckOutcome, Verdict


def judge(name: str, value: float, limit: Threshold, reason: str) -> Verdict:
    """Return the verdict; ``reason`` describes the value in a sentence. NaN fails."""
    if limit.min is not None:
        threshold, op, otherwise = limit.min, ">=", "<"
        holds = value >= threshold
    else:
        threshold, op, otherwise = limit.max or 0.0, "<=", ">"
        holds = value <= threshold
    if math.isnan(value):
        otherwise = "is no number, so not"
    outcome = CheckOutcome.PASS if holds else CheckOutcome.FAIL
    return Verdict(name, outcome, value, op if holds else otherwise, threshold, reason)
