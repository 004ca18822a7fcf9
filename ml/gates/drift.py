"""``drift``: how far the evaluation data is from the data that trained the model, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.datasets.reference import Profile, shares_of
from ml.environment.gate_schema import DriftLimits, Threshold
from ml.evidence import CheckOutcome, Verdict
from ml.gates.answers import Array
from ml.gates.judge import judge
from ml.gates.subject import Subject

BINS = 10
ALMOST_NONE = 1e-4  # replaces an empty bin, which has no logarithm


@dataclass(frozen=True, slots=True)
class Drift:
    """One column's distance from the reference."""

    column: str
    psi: float  # population stability index
    ks: float | None  # Kolmogorov-Smirnov distance; None for texts and numbers of few values


def check(subject: Subject, limits: DriftLimits) -> Sequence[Verdict]:
    """Compare the worst column with each limit. A version without a record of its training data: INCONCLUSIVE."""
    found = columns(subject)
    verdicts = []
    for name, limit in (("psi", limits.psi), ("ks", limits.ks)):
        if limit is None:
            continue
        values = {d.column: value for d in found if (value := getattr(d, name)) is not None}
        verdicts.append(_verdict(f"drift.{name}", values, limit, known=subject.reference is not None))
    return verdicts


def _verdict(name: str, values: dict[str, float], limit: Threshold, *, known: bool) -> Verdict:
    if not known:
        reason = "the version has no record of its training data: write one with ml.datasets.reference"
        return Verdict(name, CheckOutcome.INCONCLUSIVE, float("nan"), "not known to be <=", limit.max or 0.0, reason)
    worst = sorted(values, key=values.__getitem__, reverse=True)[:3]
    says = "largest: " + ", ".join(f"{column} {values[column]:.3f}" for column in worst) if worst else "no column"
    return judge(name, values[worst[0]] if worst else 0.0, limit, says)


def columns(subject: Subject) -> list[Drift]:
    """Compare every column that both sides have; empty where nothing of the training data is recorded."""
    if subject.reference is None:
        return []
    features = subject.data.features
    return [
        Drift(name, *distance(profile, features[name]))
        for name, profile in subject.reference.columns.items()
        if name in features
    ]


def distance(profile: Profile, values: pd.Series) -> tuple[float, float | None]:
    """Return PSI and, for numbers of many values, the KS distance of values from what trained the model."""
    missing = float(values.isna().mean())
    if not profile.quantiles:
        now, before = shares_of(values), profile.shares
        names = sorted(set(now) | set(before))
        return _psi(
            np.array([before.get(n, 0.0) * (1 - profile.missing) for n in names] + [profile.missing]),
            np.array([now.get(n, 0.0) * (1 - missing) for n in names] + [missing]),
        ), None
    grid, there = np.array(profile.quantiles), values.dropna().to_numpy(dtype=float)
    edges = np.unique(grid[:: len(grid) // BINS][1:-1])
    expected = np.diff([0.0, *_share_below(grid, edges), 1.0]) * (1 - profile.missing)
    actual = np.diff([0.0, *_share_below(there, edges), 1.0]) * (1 - missing)
    points = np.unique(grid)
    ks = float(np.abs(_share_below(grid, points) - _share_below(there, points)).max())
    return _psi(np.append(expected, profile.missing), np.append(actual, missing)), ks


def _share_below(values: Array, points: Array) -> Array:
    """Return the share of the values that are at most each point."""
    return np.asarray(np.searchsorted(np.sort(values), points, side="right") / max(len(values), 1))


def _psi(expected: Array, actual: Array) -> float:
    expected, actual = np.maximum(expected, ALMOST_NONE), np.maximum(actual, ALMOST_NONE)
    return float(((actual - expected) * np.log(actual / expected)).sum())
