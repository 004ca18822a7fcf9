"""Fit the model and measure it on held-out rows. No registry, no files written."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from sklearn.pipeline import Pipeline

from ml.datasets import telco
from ml.datasets.dataset import Dataset
from ml.training import pipeline


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted pipeline, the rows that made it and the rows that measured it."""

    pipeline: Pipeline
    training: Dataset
    evaluation: Dataset
    metrics: Mapping[str, float]
    predictions_digest: str  # of what it answers on the evaluation rows


def fit(training: Dataset, evaluation: Dataset, *, regularisation: float, seed: int) -> Fitted:
    """Fit on the first and measure on the second. Equal rows and options give equal answers."""
    model = pipeline.build(telco.COLUMNS, regularisation=regularisation, seed=seed)
    model.fit(training.features, training.labels)
    labels, probabilities = model.predict(evaluation.features), model.predict_proba(evaluation.features)
    positive = probabilities[:, 1]
    metrics = {
        "accuracy": accuracy_score(evaluation.labels, labels),
        "roc_auc": roc_auc_score(evaluation.labels, positive),
        "f1": f1_score(evaluation.labels, labels),
        "log_loss": log_loss(evaluation.labels, probabilities),
    }
    return Fitted(
        pipeline=model,
        training=training,
        evaluation=evaluation,
        metrics={name: float(value) for name, value in metrics.items()},
        predictions_digest=digest_predictions(labels, probabilities),
    )


def digest_predictions(labels: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> str:
    """Return ``sha256:<hex>`` of answers. Probabilities count to six decimals: the rest depends on the machine."""
    rows = zip(labels.tolist(), probabilities.tolist(), strict=True)
    text = "\n".join(f"{label} {' '.join(f'{p:.6f}' for p in row)}" for label, row in rows)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
