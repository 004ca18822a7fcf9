"""``f1``: the balance of precision and recall, which accuracy hides if a class is rare."""

from collections.abc import Sequence

import numpy as np

from ml.environment.gate_schema import Threshold
from ml.evidence import Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject


def check(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Average over classes: twice the true positives, divided by predicted plus actual positives.

    Of two classes, and where the gate names one, only the positive one counts; else all that labels or answers have.
    """
    scores, says = [], []
    truth, answered_labels = subject.truth(), subject.answers.labels
    if subject.positive is None and len(subject.classes()) > 2:  # noqa: PLR2004 - yes and no
        counted = sorted({*truth.tolist(), *answered_labels.tolist()})
    else:
        counted = [subject.positive_class()]
        says.append(subject.positive_says())
    for one in counted:
        said, true = answered_labels == one, truth == one
        hits, answered, there = (int(np.count_nonzero(rows)) for rows in (said & true, said, true))
        scores.append(2 * hits / (answered + there) if answered + there else 0.0)
        says.append(f"{hits:,} of {there:,} rows of class {one} are found, in {answered:,} such answers")
    return [judge("f1", float(np.mean(scores)), limit, "; ".join(says))]
