"""Compare a measurement with its limit. Pure."""

import math

from ml.environment_schema import Threshold
from ml.evidence import Outcome, Verdict
from ml.gates.subject import Measurement


def judge(name: str, measured: Measurement, limit: Threshold) -> Verdict:
    """Return the verdict. A value that is no number fails."""
    if limit.min is not None:
        threshold, holds, op = limit.min, measured.value >= limit.min, (">=", "<")
    else:
        threshold, holds, op = limit.max, measured.value <= limit.max, ("<=", ">")
    return Verdict(
        name=name,
        outcome=Outcome.PASS if holds else Outcome.FAIL,
        value=measured.value,
        op="is no number, so not" if math.isnan(measured.value) else op[0] if holds else op[1],
        threshold=threshold,
        reason=measured.says,
    )
