"""The checks of the gate: one file per check, each measuring one thing about one version.

A check turns a ``Subject`` into a ``Measurement`` (``subject.py``) and knows no threshold; ``judge.py`` compares the
two. No check talks to the registry, reads an environment file or writes anything. To add
one, write a file like ``accuracy.py`` and name it in :data:`CHECKS`: from then on environment files can ask for it.
Libraries are imported inside the functions, so that knowing the names costs nothing.
"""

from collections.abc import Mapping

from ml.gates import accuracy, f1, latency, log_loss, roc_auc
from ml.gates.subject import Check

CHECKS: Mapping[str, Check] = {
    "accuracy": accuracy.measure,
    "roc_auc": roc_auc.measure,
    "f1": f1.measure,
    "log_loss": log_loss.measure,
    "latency_p95_ms": latency.measure,
}
