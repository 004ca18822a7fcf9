"""Collect a gate run as plain data: what ``report.json`` holds and the page shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ml.evidence import Evidence
from ml.gates import drift
from ml.gates.calibration_error import calibration
from ml.gates.subject import Array, Subject
from serving.model.predictions import Predictions

CURVE_POINTS = 120
SCATTER_POINTS = 400
MOST_CLASSES = 8  # in a readable confusion matrix
MOST_CATEGORIES = 12  # of a column that is drawn as bars


def collect(
    subject: Subject, evidence: Evidence, seconds: Mapping[str, float], provenance: Mapping[str, str]
) -> dict[str, Any]:
    """Return everything that JSON can hold about one gate run.

    Args:
        subject: the version with its answers and its champion's.
        evidence: the verdicts.
        seconds: how long each check took.
        provenance: what the registry records of the data and code behind the version.
    """
    versions = _versions(subject)
    facts: dict[str, Any] = {
        "model": evidence.model,
        "version": evidence.version,
        "environment": evidence.environment,
        "champion": subject.champion.name if subject.champion else None,
        "outcome": evidence.outcome.value,
        "measured_at": evidence.measured_at,
        "rows": len(subject.data),
        "digests": {
            "model": evidence.model_digest,
            "evaluation data": evidence.data_digest,
            "gate": evidence.gate_digest,
            "training data": subject.reference.digest if subject.reference else "not recorded",
        },
        "provenance": dict(provenance),
        "verdicts": [
            {
                **asdict(v),
                "value": _finite(v.value),
                "line": str(v),
                "seconds": seconds.get(v.name.partition(".")[0], 0.0),
            }
            for v in evidence.verdicts
        ],
        "seconds": dict(seconds),
        "drift": [asdict(d) for d in drift.columns(subject)],
    }
    if subject.is_regression:
        facts["scatter"] = {who: _scatter(subject, answers) for who, answers in versions.items()}
        return facts
    facts["confusion"] = {who: _confusion(subject, answers) for who, answers in versions.items()}
    facts["slices"] = _slices(subject, versions, _slice_columns(evidence))
    if len(subject.classes()) == 2:  # noqa: PLR2004 - yes and no
        with_probabilities = {who: a for who, a in versions.items() if a.probabilities is not None}
        facts["roc"] = {who: _roc(subject, answers) for who, answers in with_probabilities.items()}
        facts["calibration"] = {who: _calibration(subject, answers) for who, answers in with_probabilities.items()}
    return facts


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _versions(subject: Subject) -> dict[str, Predictions]:
    answers = {"challenger": subject.answers}
    if subject.champion and subject.champion.answers:
        answers["champion"] = subject.champion.answers
    return answers


def _roc(subject: Subject, answers: Predictions) -> list[list[float]]:
    from sklearn.metrics import roc_curve

    wrong, right, _ = roc_curve(subject.data.labels == subject.positive_class(), _positive(answers))
    return [[round(float(x), 4), round(float(y), 4)] for x, y in _thin(np.column_stack([wrong, right]))]


def _calibration(subject: Subject, answers: Predictions) -> list[list[float]]:
    bins = calibration(_positive(answers), subject.data.labels == subject.positive_class())
    return [[round(b.said, 4), round(b.true, 4)] for b in bins]


def _positive(answers: Predictions) -> Array:
    return np.asarray(answers.probabilities)[:, -1]


def _confusion(subject: Subject, answers: Predictions) -> dict[str, Any] | None:
    classes = subject.classes()
    if len(classes) > MOST_CLASSES:
        return None
    counts = [
        [int(np.count_nonzero((subject.data.labels == true) & (answers.labels == said))) for said in classes]
        for true in classes
    ]
    return {"classes": [str(c) for c in classes], "counts": counts}


def _slice_columns(evidence: Evidence) -> list[str]:
    """Return the columns named in the gate's verdicts."""
    parts = [v.name.split(".") for v in evidence.verdicts if v.name.startswith("fairness.")]
    return list(dict.fromkeys(".".join(p[1:-1]) for p in parts))


def _slices(subject: Subject, versions: Mapping[str, Predictions], named: Sequence[str]) -> list[dict[str, Any]]:
    features = subject.data.features
    columns = [c for c in features if c in named or features[c].dtype.kind not in "if"]
    found = []
    for column in columns:
        values = features[column].astype(str).to_numpy()
        categories = sorted(set(values.tolist()))
        if len(categories) > MOST_CATEGORIES:
            continue
        for value in categories:
            rows = values == value
            right = {
                who: round(float((answers.labels[rows] == subject.data.labels[rows]).mean()), 4)
                for who, answers in versions.items()
            }
            found.append({"column": str(column), "value": value, "rows": int(rows.sum()), "accuracy": right})
    return found


def _scatter(subject: Subject, answers: Predictions) -> list[list[float]]:
    pairs = np.column_stack([subject.data.labels.astype(float), answers.labels.astype(float)])
    step = max(1, len(pairs) // SCATTER_POINTS)
    return [[float(f"{x:.6g}"), float(f"{y:.6g}")] for x, y in pairs[::step]]


def _thin(points: Array) -> Array:
    if len(points) <= CURVE_POINTS:
        return points
    return np.asarray(points[np.unique(np.linspace(0, len(points) - 1, CURVE_POINTS).astype(int))])
