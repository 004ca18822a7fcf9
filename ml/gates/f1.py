"""``f1``: the balance of precision and recall, which accuracy hides if a class is rare."""

from collections.abc import Sequence

import numpy as np

from ml.environment.gate_schema import Threshold
from ml.evidence import Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject


def check(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Average over classes: twice the true positives, divided by predicted plus actual positives.

    Of two classes only the positive one counts, of more all do.
    """
    classes = subject.classes()
    scores, says = [], []
    for one in classes if len(classes) > 2 else classes[-1:]:  # noqa: PLR2004 - yes and no
        said, true = subject.answers.labels == one, subject.data.labels == one
        hits, answered, there = (int(np.count_nonzero(rows)) for rows in (said & true, said, true))
        scores.append(2 * hits / (answered + there) if answered + there else 0.0)
        says.append(f"{hits:,} of {there:,} rows of class {one} are found, in {answered:,} such answers")
    return [judge("f1", float(np.mean(scores)), limit, "; ".join(says))]
