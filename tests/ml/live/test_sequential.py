"""The sequential test is as often wrong as it says, however often it is read, and decides in reasonable time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.evidence import CheckOutcome
from ml.live.sequential import ALPHA, flips_log_e_value, interval, judge_share, log_e_value

RUNS, LABELS = 2000, 2000


def first_exclusion(share: float, doubted: float, seed: int) -> np.ndarray:
    """After how many labels each of many versions of this accuracy excludes ``doubted``, read after every label."""
    from scipy.special import betaln, xlog1py, xlogy

    hits = np.cumsum(np.random.default_rng(seed).random((RUNS, LABELS)) < share, axis=1)
    rows = np.arange(1, LABELS + 1)
    e_values = (
        betaln(hits + 0.5, rows - hits + 0.5)
        - betaln(0.5, 0.5)
        - xlogy(hits, doubted)
        - xlog1py(rows - hits, -doubted)
    )
    assert log_e_value(int(hits[0, 99]), 100, doubted) == pytest.approx(float(e_values[0, 99]))
    excluded = e_values >= -math.log(ALPHA)
    return np.where(excluded.any(axis=1), excluded.argmax(axis=1) + 1, LABELS + 1)


@pytest.mark.parametrize("share", [0.5, 0.75, 0.97])
def test_a_version_as_good_as_the_limit_is_seldom_ever_called_worse_or_better(share: float) -> None:
    wrong = (first_exclusion(share, share, seed=7) <= LABELS).mean()
    assert wrong <= ALPHA
    naive = ever_outside_a_plain_interval(share)
    assert naive > 3 * ALPHA, "read after each label, a plain interval would be wrong this often"


def ever_outside_a_plain_interval(share: float) -> float:
    hits = np.cumsum(np.random.default_rng(7).random((RUNS, LABELS)) < share, axis=1)[:, 49:]
    rows = np.arange(50, LABELS + 1)
    half = 1.96 * np.sqrt(np.maximum(hits / rows * (1 - hits / rows), 1e-9) / rows)
    return float((np.abs(hits / rows - share) > half).any(axis=1).mean())


@pytest.mark.parametrize(("share", "limit", "most"), [(0.55, 0.75, 80), (0.65, 0.75, 320), (0.85, 0.75, 200)])
def test_a_version_off_the_limit_is_found_out(share: float, limit: float, most: int) -> None:
    stopped = first_exclusion(share, limit, seed=11)
    assert np.median(stopped) <= most
    assert (stopped <= LABELS).mean() > 0.95


def test_of_two_versions_on_the_same_rows_the_worse_is_found_and_equal_ones_are_left_alone() -> None:
    assert (first_exclusion(0.5, 0.5, seed=13) <= LABELS).mean() <= ALPHA
    assert flips_log_e_value(10, 40) > -math.log(ALPHA)
    assert flips_log_e_value(22, 28) < -math.log(ALPHA)
    assert flips_log_e_value(10, 40) == pytest.approx(flips_log_e_value(40, 10))


@given(st.integers(0, 3000), st.floats(0, 1))
def test_the_interval_holds_the_measured_share_and_ends_where_the_evidence_begins(rows: int, share: float) -> None:
    hits = round(share * rows)
    low, high = interval(hits, rows)
    assert 0 <= low <= high <= 1
    if rows:
        assert low <= hits / rows <= high
        for edge in (low, high):
            if 0 < edge < 1:
                assert log_e_value(hits, rows, edge) == pytest.approx(-math.log(ALPHA), abs=1e-3)


def test_it_says_pass_fail_or_about_how_many_more_are_needed() -> None:
    assert judge_share(150, 300, 0.75, 200).outcome is CheckOutcome.FAIL
    assert judge_share(290, 300, 0.75, 200).outcome is CheckOutcome.PASS
    early = judge_share(50, 100, 0.75, 200)
    assert (early.outcome, early.more) == (CheckOutcome.INCONCLUSIVE, 100)
    open_ = judge_share(210, 300, 0.75, 200)
    assert open_.outcome is CheckOutcome.INCONCLUSIVE
    assert open_.more is not None
    rows = round((300 + open_.more) * 1.1)  # it says about
    assert judge_share(round(0.7 * rows), rows, 0.75).outcome is CheckOutcome.FAIL
    assert judge_share(round(0.7 * rows * 0.7), round(rows * 0.7), 0.75).outcome is CheckOutcome.INCONCLUSIVE
    assert judge_share(7500, 10_000, 0.75).more is None or judge_share(7500, 10_000, 0.75).more > 100_000
    assert judge_share(0, 0, 0.75).outcome is CheckOutcome.INCONCLUSIVE


@pytest.mark.parametrize(("hits", "rows", "limit"), [(0, 0, 0.0), (0, 5, 1.0), (5, 5, 1.0), (0, 5, 0.0), (5, 5, 0.0)])
def test_limits_at_the_ends_are_no_error(hits: int, rows: int, limit: float) -> None:
    judge_share(hits, rows, limit)
