"""``roc_auc``: how well the model ranks rows: the area under the ROC curve."""

from collections.abc import Sequence

from ml.environment.gate_schema import Threshold
from ml.evidence import Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject


def check(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Compare the ranks of both classes; of more than two, of each class with the others."""
    from sklearn.metrics import roc_auc_score

    several = len(subject.classes()) > 2  # noqa: PLR2004 - yes and no
    scores = subject.probabilities() if several else subject.positive()
    value = float(roc_auc_score(subject.data.labels, scores, multi_class="ovr" if several else "raise"))
    return [
        judge("roc_auc", value, limit, f"of all pairs of one row of each class, {value:.1%} are ranked correctly")
    ]
