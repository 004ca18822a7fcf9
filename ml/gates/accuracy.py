"""``accuracy``: the share of correctly answered evaluation rows."""

from collections.abc import Sequence

import numpy as np

from ml.environment.gate_schema import Threshold
from ml.evidence import Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject


def check(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Count the correct answers."""
    subject.classes()
    right, rows = int(np.count_nonzero(subject.right())), len(subject.data)
    return [judge("accuracy", right / rows, limit, f"{right:,} of {rows:,} rows are answered correctly")]
