"""Compare a measurement with its limit. Pure."""

import math

from ml.evidence import Outcome, Verdict
from ml.gate_schema import Threshold
from ml.gates.subject import Measurement


def judge(name: str, measured: Measurement, limit: Threshold) -> Verdict:
    """Return the verdict. A value that is no number fails."""
    if limit.min is not None:
        threshold, op, otherwise = limit.min, ">=", "<"
        holds = measured.value >= threshold
    else:
        threshold, op, otherwise = limit.max or 0.0, "<=", ">"
        holds = measured.value <= threshold
    if math.isnan(measured.value):
        otherwise = "is no number, so not"
    return Verdict(
        name=name,
        outcome=Outcome.PASS if holds else Outcome.FAIL,
        value=measured.value,
        op=op if holds else otherwise,
        threshold=threshold,
        reason=measured.says,
    )
