"""``f1``: the balance of precision and recall for the positive class, which accuracy hides when it is rare."""

import numpy as np

from ml.gates.subject import Measurement, Subject


def measure(subject: Subject) -> Measurement:
    """Take the harmonic mean of precision and recall of class 1; 0 when the class is never found."""
    said, true = subject.answers.labels == 1, subject.data.labels == 1
    hits = int(np.count_nonzero(said & true))
    answered, positives = int(np.count_nonzero(said)), int(np.count_nonzero(true))
    value = 2 * hits / (answered + positives) if answered + positives else 0.0
    return Measurement(value, f"{hits:,} of {positives:,} positives are found, in {answered:,} positive answers")
