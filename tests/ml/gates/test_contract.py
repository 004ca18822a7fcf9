"""What callers really sent, held against a new version's signature."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml.datasets import reference
from ml.datasets.request_log import RequestLog
from ml.environment.gate_schema import ContractLimits
from ml.evidence import CheckOutcome, Verdict
from ml.gates.contract import check
from ml.gates.subject import Champion, Subject
from serving.model.model_dir import Column
from tests.support.request_logs import request_log
from tests.support.segments import record
from tests.support.subjects import Plain, make_subject

BEFORE = (Column("age", "long"), Column("city", "string"), Column("plan", "string", required=False))
LOGGED = [("age", "long"), ("city", "string"), ("plan", "string")]


def subject(after: Sequence[Column], log: RequestLog | None, **changes: Any) -> Subject:
    plain = make_subject({"age": [1, 2]}, [0, 1], Plain(lambda _: 0.0))
    champion = Champion("m v1", BEFORE, "", plain.answers)
    return replace(plain, columns=tuple(after), champion=champion, log=log, **changes)


def said(after: Sequence[Column], log: RequestLog | None, days: int = 30, **changes: Any) -> Verdict:
    (verdict,) = check(subject(after, log, **changes), ContractLimits(days=days))
    return verdict


def asked(caller: bytes, *rows: list[Any], **changes: Any) -> Any:
    return record(caller=caller, rows=list(rows), labels=None, probabilities=None, **changes)


@pytest.fixture
def log(tmp_path: Path) -> RequestLog:
    """The shop sends all, the desk never a plan."""
    records = [asked(b"shop", [30, "Bonn", "plus"], [31, "Bonn", "basic"]), asked(b"desk", [40, "Rome", None])]
    return request_log(tmp_path, records, LOGGED)


def test_a_version_that_takes_what_callers_send_passes(log: RequestLog) -> None:
    verdict = said(BEFORE, log)
    assert str(verdict) == "PASS: contract=0 <= 0"
    assert verdict.reason == "3 rows of 2 callers in 30 days"


def test_a_field_that_became_required_breaks_who_leaves_it_out(log: RequestLog) -> None:
    verdict = said([*BEFORE[:2], Column("plan", "string")], log)
    assert str(verdict) == "FAIL: contract=1 > 0"
    assert "would be refused: desk: 1 of 1 rows: plan: a value is required" in verdict.reason
    assert "shop" not in verdict.reason


def test_a_new_required_field_breaks_everybody(log: RequestLog) -> None:
    verdict = said([*BEFORE, Column("income", "double")], log)
    assert verdict.value == 2
    assert "shop: 2 of 2 rows: income: a value is required" in verdict.reason


def test_a_field_that_was_removed_breaks_who_sends_it(log: RequestLog) -> None:
    verdict = said(BEFORE[:2], log)
    assert verdict.value == 1
    assert "shop: 2 of 2 rows: it sends plan, which is no field" in verdict.reason


def test_mlflows_protocol_ignores_what_it_does_not_know(tmp_path: Path) -> None:
    log = request_log(tmp_path, [asked(b"shop", [30, "Bonn", "plus"], protocol="invocations")], LOGGED)
    assert said(BEFORE[:2], log).outcome is CheckOutcome.PASS


def test_a_narrower_type_breaks_only_who_sends_more(tmp_path: Path) -> None:
    log = request_log(tmp_path, [asked(b"shop", [2**40, "a", None]), asked(b"desk", [30, "a", None])], LOGGED)
    verdict = said([Column("age", "integer"), *BEFORE[1:]], log)
    assert verdict.value == 1
    assert "shop: 1 of 1 rows: age: " in verdict.reason


def test_a_whole_number_is_one_whatever_its_column_was(tmp_path: Path) -> None:
    log = request_log(tmp_path, [asked(b"shop", [30.0, "a", None])], [("age", "double"), *LOGGED[1:]])
    before = (Column("age", "double"), *BEFORE[1:])
    champion = Champion("m v1", before, "", None)
    verdict = check(replace(subject(BEFORE, log), champion=champion), ContractLimits())[0]
    assert verdict.outcome is CheckOutcome.PASS


def test_columns_that_are_dropped_or_hashed_are_not_judged(tmp_path: Path) -> None:
    log = request_log(tmp_path, [asked(b"shop", ["0f" * 16, "plus"])], [("age", "hash"), ("plan", "string")])
    assert said(BEFORE, log).outcome is CheckOutcome.PASS
    assert said([*BEFORE, Column("new", "long")], log).outcome is CheckOutcome.FAIL


def test_refused_requests_and_those_before_the_days_do_not_count(tmp_path: Path) -> None:
    old = int(time.time() * 1e6) - 3 * 86_400_000_000
    records = [asked(b"old", [1, "a", "b"], time=old), asked(b"refused", [1, "a", "b"], status=500)]
    log = request_log(tmp_path, records, LOGGED)
    assert said(BEFORE[:1], log, days=2).reason == "0 rows of 0 callers in 2 days"
    assert said(BEFORE[:1], log, days=4).value == 1


def test_fields_that_nobody_sends_and_texts_that_training_has_not_seen_are_remarked(log: RequestLog) -> None:
    trained = reference.describe(pd.DataFrame({"city": ["Bonn"] * 3, "plan": ["plus", "basic", "plus"]}), "sha256:0")
    verdict = said([*BEFORE, Column("shoe", "double", required=False)], log, reference=trained)
    assert verdict.outcome is CheckOutcome.PASS
    assert verdict.reason == "3 rows of 2 callers in 30 days; nobody sends shoe; training has not seen city Rome"


def test_without_a_live_version_there_are_no_callers() -> None:
    (verdict,) = check(replace(subject(BEFORE, None), champion=None), ContractLimits())
    assert verdict.outcome is CheckOutcome.PASS


def test_without_a_log_or_a_signature_of_the_live_version_it_cannot_tell(log: RequestLog) -> None:
    verdict = said(BEFORE, None)
    assert verdict.outcome is CheckOutcome.INCONCLUSIVE
    assert "have the receiver measure the version" in verdict.reason
    lost = replace(subject(BEFORE, log), champion=Champion("m v1", (), "", None, "its artifacts are lost"))
    (verdict,) = check(lost, ContractLimits())
    assert (verdict.outcome, verdict.reason) == (CheckOutcome.INCONCLUSIVE, "its artifacts are lost")


def test_many_callers_are_counted_and_the_worst_are_named(tmp_path: Path) -> None:
    records = [asked(b"c%d" % n, *([[1, "a", "b"]] * (n + 1))) for n in range(9)]
    verdict = said(BEFORE[:2], request_log(tmp_path, records, LOGGED))
    assert verdict.value == 9
    assert "c8: 9 of 9 rows" in verdict.reason
    assert "c0" not in verdict.reason
    assert "and 4 more callers" in verdict.reason
