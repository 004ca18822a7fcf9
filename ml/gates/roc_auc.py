"""``roc_auc``: how well the model ranks: the area under the ROC curve."""

from ml.gates.subject import Measurement, Subject


def measure(subject: Subject) -> Measurement:
    """Compare the ranks of both classes."""
    from sklearn.metrics import roc_auc_score

    value = float(roc_auc_score(subject.data.labels, subject.answers.positive()))
    return Measurement(value, f"of one row of each class, the right one ranks higher in {value:.1%} of the pairs")
