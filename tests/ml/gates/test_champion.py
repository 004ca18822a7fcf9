from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ml.environment.gate_schema import ChampionPolicy
from ml.evidence import CheckOutcome
from ml.gates.champion import check, difference
from ml.gates.subject import Champion, Record, Subject
from tests.support.subjects import Plain, make_subject

ROWS = 400
COLUMNS = {"n": list(range(ROWS)), "half": ["low"] * (ROWS // 2) + ["high"] * (ROWS // 2)}
LABELS = [0] * ROWS


def wrong_on(rows: range) -> Callable[[Record], float]:
    return lambda record: 0.9 if record["n"] in rows else 0.1


def compared(champion_wrong: range, challenger_wrong: range) -> Subject:
    subject = make_subject(COLUMNS, LABELS, Plain(wrong_on(challenger_wrong)))
    live = Plain(wrong_on(champion_wrong)).predict_records(subject.records)
    return replace(subject, champion=Champion("m v1", subject.columns, "", live))


@pytest.mark.parametrize(
    ("champion_wrong", "challenger_wrong", "require", "outcome"),
    [
        (range(40), range(10), "improve", CheckOutcome.PASS),
        (range(10), range(9), "improve", CheckOutcome.INCONCLUSIVE),
        (range(10), range(40), "improve", CheckOutcome.FAIL),
        (range(10), range(10), "improve", CheckOutcome.FAIL),
        (range(10), range(10), "hold", CheckOutcome.PASS),
        (range(10), range(11), "hold", CheckOutcome.PASS),
        (range(10), range(13), "hold", CheckOutcome.INCONCLUSIVE),
        (range(10), range(60), "hold", CheckOutcome.FAIL),
    ],
)
def test_a_difference_that_is_luck_promotes_nobody(
    champion_wrong: range, challenger_wrong: range, require: str, outcome: CheckOutcome
) -> None:
    subject = compared(champion_wrong, challenger_wrong)
    (verdict,) = check(subject, ChampionPolicy(require=require))
    assert verdict.outcome is outcome
    assert verdict.name == "champion.accuracy"
    assert "against m v1" in verdict.reason
    assert (outcome is CheckOutcome.INCONCLUSIVE) == ("more rows would decide it" in verdict.reason)


def test_as_many_more_rows_as_it_says_do_settle_it() -> None:
    gains = np.array([1.0] * 12 + [-1.0] * 6 + [0.0] * 382)
    found = difference(gains)
    assert found.low < 0 < found.high
    more = found.rows_to_decide(0.0)
    assert more
    times = int(np.ceil((more + 400) / 400)) + 1
    assert difference(np.tile(gains, times)).low > 0


def test_a_slice_that_got_worse_is_found_behind_a_better_whole() -> None:
    subject = compared(champion_wrong=range(200, 300), challenger_wrong=range(40))
    policy = ChampionPolicy(require="improve", slices=("half",), slice_margin=0.05)
    whole, slices = check(subject, policy)
    assert whole.outcome is CheckOutcome.PASS
    assert slices.outcome is CheckOutcome.FAIL
    assert slices.value == pytest.approx(-0.2)
    assert "worst slice half=low (200 rows)" in slices.reason


def test_a_slice_within_the_margin_passes_and_one_beyond_it_by_luck_is_inconclusive() -> None:
    subject = compared(champion_wrong=range(1), challenger_wrong=range(3))
    within = check(subject, ChampionPolicy(require="hold", slices=("half",), slice_margin=0.05))[1]
    beyond = check(subject, ChampionPolicy(require="hold", slices=("half",), slice_margin=0.001))[1]
    assert within.outcome is CheckOutcome.PASS
    assert beyond.outcome is CheckOutcome.INCONCLUSIVE


def test_small_slices_are_named_and_not_judged() -> None:
    columns = {**COLUMNS, "half": ["few"] * 10 + ["many"] * (ROWS - 10)}
    subject = make_subject(columns, LABELS, Plain(wrong_on(range(10))))
    live = Plain(wrong_on(range(0))).predict_records(subject.records)
    subject = replace(subject, champion=Champion("m v1", subject.columns, "", live))
    verdict = check(subject, ChampionPolicy(require="hold", slices=("half",)))[1]
    assert verdict.outcome is CheckOutcome.PASS
    assert "too few rows in half=few" in verdict.reason


def test_without_a_live_version_there_is_nothing_to_beat() -> None:
    subject = make_subject(COLUMNS, LABELS, Plain(wrong_on(range(10))))
    verdicts = check(subject, ChampionPolicy(require="improve", slices=("half",)))
    assert [v.outcome for v in verdicts] == [CheckOutcome.PASS, CheckOutcome.PASS]
    assert "no version is live here" in verdicts[0].reason


def test_a_live_version_that_does_not_answer_these_rows_can_not_be_beaten_unseen() -> None:
    subject = make_subject(COLUMNS, LABELS, Plain(wrong_on(range(10))))
    silent = replace(subject, champion=Champion("m v1", (), "", None, "m v1 does not answer these rows: no tenure"))
    verdicts = check(silent, ChampionPolicy(require="hold", slices=("half",)))
    assert [v.outcome for v in verdicts] == [CheckOutcome.INCONCLUSIVE, CheckOutcome.INCONCLUSIVE]
    assert "no tenure" in verdicts[0].reason


def test_log_loss_is_compared_row_by_row_too() -> None:
    subject = make_subject(COLUMNS, LABELS, Plain(lambda r: 0.05 + 0.001 * (r["n"] % 7)))
    live = Plain(lambda r: 0.3 + 0.001 * (r["n"] % 5)).predict_records(subject.records)
    subject = replace(subject, champion=Champion("m v1", subject.columns, "", live))
    (verdict,) = check(subject, ChampionPolicy(require="improve", metric="log_loss"))
    assert verdict.outcome is CheckOutcome.PASS


def test_a_column_with_too_many_values_makes_no_slices() -> None:
    subject = compared(range(1), range(1))
    with pytest.raises(ValueError, match="column n has 400 values"):
        check(subject, ChampionPolicy(require="hold", slices=("n",)))
