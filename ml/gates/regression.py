"""``mae``, ``rmse`` and ``r2``: how far a regression's answers are from the measured values."""

from collections.abc import Sequence

import numpy as np

from ml.environment.gate_schema import Threshold
from ml.evidence import Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject


def mae(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Average the absolute error, in the label's unit."""
    true, said = subject.numbers()
    value = float(np.abs(true - said).mean())
    return [judge("mae", value, limit, f"answers are off by {value:.4g} on average")]


def rmse(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Take the root of the mean squared error, in the label's unit: large errors count more."""
    true, said = subject.numbers()
    worst = float(np.abs(true - said).max())
    value = float(np.sqrt(np.square(true - said).mean()))
    return [judge("rmse", value, limit, f"the worst answer is off by {worst:.4g}")]


def r2(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Compare the squared errors with those of always answering the mean."""
    from sklearn.metrics import r2_score

    true, said = subject.numbers()
    if len(true) < 2:  # noqa: PLR2004 - one value has no variance
        raise ValueError("one row has no variance to explain")
    value = float(r2_score(true, said))
    return [judge("r2", value, limit, f"{value:.1%} of the label's variance is explained")]
