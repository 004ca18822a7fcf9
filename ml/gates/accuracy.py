"""``accuracy``: the share of evaluation rows that are decided right."""

import numpy as np

from ml.gates.subject import Measurement, Subject


def measure(subject: Subject) -> Measurement:
    """Count the right decisions."""
    right = int(np.count_nonzero(subject.answers.labels == subject.data.labels))
    rows = len(subject.data)
    return Measurement(right / rows, f"{right:,} of {rows:,} rows are decided right")
