"""Collect a gate run as plain data: what ``report.json`` holds and the page shows."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ml.evidence import Evidence
from ml.gates import drift
from ml.gates.answers import Answers, Array
from ml.gates.calibration_error import calibration
from ml.gates.subject import Subject

CURVE_POINTS = 120
SCATTER_POINTS = 400
MOST_CLASSES = 8  # in a readable confusion matrix
Draw = Callable[[Subject, Answers], Any]
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
        "positive": None,
        "drift": [asdict(d) for d in drift.columns(subject)],
    }
    if subject.is_regression:
        return facts | {"scatter": _drawn(_scatter, subject, versions)}
    slices: dict[str, Any] = {}
    with contextlib.suppress(ValueError):  # the answers are not one value per row
        slices["slices"] = _slices(subject, versions, _slice_columns(evidence))
    with contextlib.suppress(ValueError):  # of several classes, none is named
        slices["positive"] = subject.positive_says()
    return facts | slices | {name: _drawn(draw, subject, versions) for name, draw in CHARTS.items()}


def _drawn(draw: Draw, subject: Subject, versions: Mapping[str, Answers]) -> dict[str, Any]:
    """The chart of each version that has what it needs."""
    found = {}
    for who, answers in versions.items():
        with contextlib.suppress(ValueError):
            found[who] = draw(subject, answers)
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _versions(subject: Subject) -> dict[str, Answers]:
    answers = {"challenger": subject.answers}
    if subject.champion and subject.champion.answers:
        answers["champion"] = subject.champion.answers
    return answers


def _roc(subject: Subject, answers: Answers) -> list[list[float]]:
    from sklearn.metrics import roc_curve

    wrong, right, _ = roc_curve(subject.truth() == subject.positive_class(), subject.positive_share(answers))
    return [[round(float(x), 4), round(float(y), 4)] for x, y in _thin(np.column_stack([wrong, right]))]


def _calibration(subject: Subject, answers: Answers) -> list[list[float]]:
    bins = calibration(subject.positive_share(answers), subject.truth() == subject.positive_class())
    return [[round(b.said, 4), round(b.true, 4)] for b in bins]


def _confusion(subject: Subject, answers: Answers) -> dict[str, Any] | None:
    classes, truth = subject.classes(answers), subject.truth(answers)
    if len(classes) > MOST_CLASSES:
        return None
    counts = [
        [int(np.count_nonzero((truth == true) & (answers.labels == said))) for said in classes] for true in classes
    ]
    return {"classes": [str(c) for c in classes], "counts": counts}


def _slice_columns(evidence: Evidence) -> list[str]:
    """Return the columns named in the gate's verdicts."""
    parts = [v.name.split(".") for v in evidence.verdicts if v.name.startswith("fairness.")]
    return list(dict.fromkeys(".".join(p[1:-1]) for p in parts))


def _slices(subject: Subject, versions: Mapping[str, Answers], named: Sequence[str]) -> list[dict[str, Any]]:
    features = subject.data.features
    columns = [c for c in features if c in named or features[c].dtype.kind not in "if"]
    found = []
    rights = {who: subject.right(answers) for who, answers in versions.items()}
    for column in columns:
        values = subject.categories(str(column))
        categories = sorted(set(values.tolist()))
        if len(categories) > MOST_CATEGORIES:
            continue
        for value in categories:
            rows = values == value
            right = {who: round(float(of_version[rows].mean()), 4) for who, of_version in rights.items()}
            found.append({"column": str(column), "value": value, "rows": int(rows.sum()), "accuracy": right})
    return found


def _scatter(subject: Subject, answers: Answers) -> list[list[float]]:
    pairs = np.column_stack(subject.numbers(answers))
    step = max(1, len(pairs) // SCATTER_POINTS)
    return [[float(f"{x:.6g}"), float(f"{y:.6g}")] for x, y in pairs[::step]]


def _thin(points: Array) -> Array:
    if len(points) <= CURVE_POINTS:
        return points
    return np.asarray(points[np.unique(np.linspace(0, len(points) - 1, CURVE_POINTS).astype(int))])


CHARTS: Mapping[str, Draw] = {"confusion": _confusion, "roc": _roc, "calibration": _calibration}
