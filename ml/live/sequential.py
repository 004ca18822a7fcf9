"""A test of a share that may be read after every label: mixture e-values, and the confidence sequence of them.

Reading an ordinary interval again and again finds a difference sooner or later where there is none. An e-value does
not: if the share that it doubts is true, it ever exceeds 1 / ALPHA with a probability of at most ALPHA (Ville 1939,
Robbins 1970). It is the likelihood of what was seen, averaged over all shares, against that of the doubted one.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, xlog1py, xlogy

from ml.evidence import CheckOutcome

ALPHA = 0.05  # the probability of ever being wrong about one version
PRIOR = 0.5  # Jeffreys's: no share is preferred
MOST_ROWS = 10_000_000  # more are not predicted


@dataclass(frozen=True, slots=True)
class ShareTest:
    """What is known of a share against a limit, at any time."""

    outcome: CheckOutcome
    low: float  # of the confidence sequence: it holds the share at all times with probability 1 - ALPHA
    high: float
    more: int | None  # about how many more rows decide it, if it goes on like this; None: too many to say


def log_e_value(hits: int, rows: int, share: float) -> float:
    """Return the logarithm of the evidence against ``share``."""
    average = betaln(hits + PRIOR, rows - hits + PRIOR) - betaln(PRIOR, PRIOR)
    return float(average - xlogy(hits, share) - xlog1py(rows - hits, -share))


def flips_log_e_value(better: int, worse: int) -> float:
    """Return the evidence against two versions being equally good, from the rows where only one of them is right."""
    return log_e_value(worse, better + worse, 0.5)


def interval(hits: int, rows: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Return all shares that the evidence does not exclude."""
    if rows == 0:
        return 0.0, 1.0
    share = hits / rows
    return _edge(hits, rows, alpha, (share, 0.0)), _edge(hits, rows, alpha, (share, 1.0))


def judge_share(hits: int, rows: int, limit: float, least_rows: int = 1) -> ShareTest:
    """Say whether a share is at least ``limit``: PASS or FAIL when that is sure, and not before ``least_rows``."""
    low, high = interval(hits, rows)
    if rows >= least_rows and (low >= limit or high < limit):
        return ShareTest(CheckOutcome.PASS if low >= limit else CheckOutcome.FAIL, low, high, 0)
    return ShareTest(CheckOutcome.INCONCLUSIVE, low, high, _more(hits, rows, limit, least_rows))


def _edge(hits: int, rows: int, alpha: float, between: tuple[float, float]) -> float:
    """Find where, from the measured share outwards, the evidence reaches 1 / alpha."""
    inside, outside = between
    if log_e_value(hits, rows, outside) < -math.log(alpha):
        return outside
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (
            (middle, outside) if log_e_value(hits, rows, middle) < -math.log(alpha) else (inside, middle)
        )
    return outside


def _more(hits: int, rows: int, limit: float, least_rows: int) -> int | None:
    """Find the number of rows at which the share of now would be sure."""
    share = (hits + PRIOR) / (rows + 2 * PRIOR)
    sizes = np.unique(np.geomspace(max(rows, least_rows, 1), MOST_ROWS, 400).astype(np.int64))
    expected = sizes * share
    average = betaln(expected + PRIOR, sizes - expected + PRIOR) - betaln(PRIOR, PRIOR)
    sure = average - xlogy(expected, limit) - xlog1py(sizes - expected, -limit) >= -math.log(ALPHA)
    return int(sizes[sure.argmax()]) - rows if sure.any() else None
