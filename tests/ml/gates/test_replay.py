"""The last answers of the live version, given again by a new one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.datasets.request_log import RequestLog
from ml.environment.gate_schema import AtMostShare, ReplayLimits
from ml.evidence import CheckOutcome, Verdict
from ml.gates.intervals import wilson
from ml.gates.replay import check
from ml.gates.subject import Champion, Record, Subject
from serving.inference_log.segment import Record as LoggedRequest
from serving.model.model_dir import Column
from tests.support.request_logs import request_log
from tests.support.segments import record
from tests.support.subjects import Plain, make_subject

COLUMNS = (Column("x", "double"), Column("part", "string"))
LOGGED = [("x", "double"), ("part", "string")]


def live(row: Record) -> float:
    return 0.9 if row["x"] > 0.5 else 0.1


def requests(
    count: int, answer: Callable[[Record], float] = live, *, regression: bool = False, **changes: Any
) -> Sequence[LoggedRequest]:
    """Requests of 100 rows each over x from 0 to 1, as the live version answered them."""
    found = []
    for start in range(0, count, 100):
        rows = [[(n + 0.5) / count, "ab"[n % 2]] for n in range(start, min(start + 100, count))]
        said = [answer({"x": x}) for x, _ in rows]
        labels: list[Any] = said if regression else [int(p > 0.5) for p in said]
        table = None if regression else [[1 - p, p] for p in said]
        request_id = b"r%d" % (start // 100)
        found.append(record(request_id=request_id, rows=rows, labels=labels, probabilities=table, **changes))
    return found


def subject(answer: Callable[[Record], float], log: RequestLog | None, *, regression: bool = False) -> Subject:
    plain = make_subject({"x": [0.0], "part": ["a"]}, [0], Plain(answer, regression=regression))
    champion = Champion("m v3", COLUMNS, "", plain.answers, version=3)
    return replace(plain, columns=COLUMNS, champion=champion, log=log)


def said(answer: Callable[[Record], float], log: RequestLog | None, most: float = 0.02, **limits: Any) -> Verdict:
    return check(subject(answer, log), ReplayLimits(AtMostShare(max=most), **limits))[0]


@pytest.fixture
def log(tmp_path: Path) -> RequestLog:
    return request_log(tmp_path, requests(1000), LOGGED)


def test_a_version_that_answers_alike_passes_and_says_on_how_many_rows(log: RequestLog) -> None:
    verdict = said(live, log)
    assert str(verdict) == "PASS: replay.flips=0 <= 0.02"
    assert verdict.reason == (
        "0 of the last 1,000 answers of m v3 would change: 0.00%, 95 % interval 0.00% to 0.38%; "
        "scores move by +0.0000 on average"
    )


def test_a_version_that_decides_differently_fails_and_names_the_requests(log: RequestLog) -> None:
    verdict = said(lambda row: 0.9 if row["x"] > 0.4 else 0.1, log)
    assert str(verdict) == "FAIL: replay.flips=0.1 > 0.02"
    assert "100 of the last 1,000 answers" in verdict.reason
    assert "scores move by +0.0800 on average" in verdict.reason
    assert "largest: r4#" in verdict.reason
    assert verdict.reason.count("0 -> 1") == 5


def test_what_is_near_the_limit_needs_more_rows(log: RequestLog) -> None:
    verdict = said(lambda row: 0.9 if row["x"] > 0.479 else 0.1, log)
    assert verdict.outcome is CheckOutcome.INCONCLUSIVE
    assert "more rows would decide it" in verdict.reason


def test_only_the_last_rows_count(log: RequestLog) -> None:
    verdict = said(lambda row: 0.9 if row["x"] > 0.4 else 0.1, log, rows=300)
    assert verdict.outcome is CheckOutcome.PASS
    assert "the last 300 answers" in verdict.reason


def test_below_300_rows_it_says_how_many_are_missing(tmp_path: Path) -> None:
    verdict = said(live, request_log(tmp_path, requests(200), LOGGED))
    assert (verdict.outcome, verdict.reason) == (
        CheckOutcome.INCONCLUSIVE,
        "200 rows of m v3 are recorded, 100 more are needed",
    )


def test_rows_of_other_versions_and_rows_that_would_be_refused_are_left_out(tmp_path: Path) -> None:
    log = request_log(tmp_path, requests(400), LOGGED)
    old = replace(subject(live, log), champion=Champion("m v2", COLUMNS, "", None, version=2))
    (verdict,) = check(old, ReplayLimits(AtMostShare(max=0.02)))
    assert verdict.reason == "0 rows of m v2 are recorded, 300 more are needed"
    narrower = replace(subject(live, log), columns=(*COLUMNS, Column("new", "long")))
    (verdict,) = check(narrower, ReplayLimits(AtMostShare(max=0.02)))
    assert verdict.reason == "0 rows of m v3 are recorded, 300 more are needed; 400 more would be refused"


def test_columns_that_are_not_recorded_as_sent_leave_it_open(tmp_path: Path) -> None:
    rows = [[each[0], "0f" * 16] for request in requests(400) for each in request.rows or ()]
    hashed = [record(rows=rows, labels=[0] * 400, probabilities=None)]
    verdict = said(live, request_log(tmp_path, hashed, [("x", "double"), ("other", "hash")]))
    assert verdict.outcome is CheckOutcome.INCONCLUSIVE
    assert verdict.reason == "rows can't be asked again, for the log leaves out or hashes part"


def test_a_slice_that_changes_much_is_found(log: RequestLog) -> None:
    def worse(row: Record) -> float:
        return 0.9 if row["x"] > (0.42 if row["part"] == "b" else 0.5) else 0.1

    overall, slices = check(subject(worse, log), ReplayLimits(AtMostShare(max=0.04), slices=("part",)))
    assert overall.outcome is not CheckOutcome.FAIL
    assert slices.outcome is CheckOutcome.FAIL
    assert slices.reason.startswith("worst slice part=b: 40 of 500 answers would change")


def test_a_regression_flips_where_it_moves_by_a_tenth_of_the_spread(tmp_path: Path) -> None:
    log = request_log(tmp_path, requests(1000, lambda row: row["x"], regression=True), LOGGED)
    for step, outcome in ((0.02, CheckOutcome.PASS), (0.04, CheckOutcome.FAIL)):
        moved = subject(lambda row, step=step: row["x"] + step, log, regression=True)
        (verdict,) = check(moved, ReplayLimits(AtMostShare(max=0.02)))
        assert verdict.outcome is outcome
        assert f"scores move by {step:+.4f}" in verdict.reason


def test_without_a_live_version_nothing_changes_and_without_a_log_it_cannot_tell() -> None:
    (first,) = check(replace(subject(live, None), champion=None), ReplayLimits(AtMostShare(max=0.02)))
    assert first.outcome is CheckOutcome.PASS
    verdict = said(live, None)
    assert verdict.outcome is CheckOutcome.INCONCLUSIVE
    assert math.isnan(verdict.value)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_the_interval_holds_the_share_and_narrows(rows: int, share: float) -> None:
    flips = round(share * rows)
    low, high = wilson(flips, rows)
    assert 0 <= low <= flips / rows + 1e-12
    assert flips / rows - 1e-12 <= high <= 1
    more = wilson(flips * 4, rows * 4)
    assert more[1] - more[0] <= high - low


def test_the_interval_holds_the_true_share_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    for share in (0.02, 0.2):
        counts = random.binomial(500, share, 2000)
        hits = [low <= share <= high for low, high in (wilson(int(count), 500) for count in counts)]
        assert 0.93 <= np.mean(hits) <= 0.97
