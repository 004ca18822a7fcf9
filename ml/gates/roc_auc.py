"""``roc_auc``: how well the model ranks rows: the area under the ROC curve."""

from collections.abc import Sequence

import numpy as np

from ml.environment.gate_schema import Threshold
from ml.evidence import Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject


def check(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Compare the ranks of the positive class with the others'.

    Of more than two classes, if the gate names none, average over those that the rows have.
    """
    from sklearn.metrics import roc_auc_score

    truth, classes = subject.truth(), subject.classes()
    several = subject.positive is None and len(classes) > 2  # noqa: PLR2004 - yes and no
    ranked = [c for c in classes if (truth == c).any()] if several else [subject.positive_class()]
    if len(set(truth.tolist())) < 2 or not (truth == ranked[0]).any():  # noqa: PLR2004 - there is nothing to rank
        raise ValueError(f"the rows need two classes to rank, found only {', '.join(map(str, set(truth.tolist())))}")
    areas = [roc_auc_score(truth == c, subject.answers.share_of(c, classes)) for c in ranked]
    value = float(np.mean(areas))
    which = f"mean over the classes {', '.join(map(str, ranked))}" if several else subject.positive_says()
    says = f"of all pairs of one row of each class, {value:.1%} are ranked correctly; {which}"
    return [judge("roc_auc", value, limit, says)]
