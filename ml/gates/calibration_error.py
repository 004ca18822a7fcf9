"""``calibration_error``: of the rows called 70 % likely, do 70 % come true?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.environment.gate_schema import Threshold
from ml.evidence import Verdict
from ml.gates.answers import Array
from ml.gates.judge import judge
from ml.gates.subject import Subject

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of similar probability."""

    rows: int
    said: float  # mean probability
    true: float  # share that came true


def check(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Average the distance of probability from frequency over bins of about as many rows."""
    bins = calibration(subject.positive_share(), subject.truth() == subject.positive_class())
    rows = sum(b.rows for b in bins)
    value = sum(b.rows * abs(b.said - b.true) for b in bins) / rows
    worst = max(bins, key=lambda b: abs(b.said - b.true))
    says = f"at worst, {worst.rows} rows are called {worst.said:.0%} likely and {worst.true:.0%} of them come true"
    says = f"{says}; {subject.positive_says()}"
    return [judge("calibration_error", value, limit, says)]


def calibration(probabilities: Array, true: Array) -> list[Bin]:
    """Put the rows into bins between the deciles of the probabilities; equal ones are in the same bin."""
    edges = np.quantile(probabilities, np.linspace(0, 1, BINS + 1))[1:-1]
    places = np.searchsorted(edges, probabilities)
    parts = [places == place for place in np.unique(places)]
    return [Bin(int(part.sum()), float(probabilities[part].mean()), float(true[part].mean())) for part in parts]
