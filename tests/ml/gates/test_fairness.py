import pytest

from ml.environment.gate_schema import AtMostShare, FairnessLimits
from ml.evidence import CheckOutcome
from ml.gates.fairness import check, groups
from tests.support.subjects import Plain, make_subject

# 40 of each group; the model selects all of group 1 and half of group 0, right or wrong.
COLUMNS = {"group": [0] * 40 + [1] * 40, "score": [0.9, 0.1] * 20 + [0.9] * 40}
LABELS = [1, 0] * 20 + [1, 0] * 20


def test_each_column_is_measured_by_itself_with_its_group_sizes() -> None:
    subject = make_subject({**COLUMNS, "coin": [0, 1] * 40}, LABELS, Plain(lambda r: r["score"]))
    limit = AtMostShare(max=0.3)
    verdicts = check(subject, FairnessLimits(("group", "coin"), demographic_parity=limit, equalized_odds=limit))
    values = {v.name: v.value for v in verdicts}
    assert values["fairness.group.demographic_parity"] == pytest.approx(0.5)
    assert values["fairness.group.equalized_odds"] == pytest.approx(1.0)
    assert values["fairness.coin.demographic_parity"] == pytest.approx(0.5)
    assert verdicts[0].outcome is CheckOutcome.FAIL
    groups = "0: 50% of 40 decided positive, 1: 100% of 40 decided positive"
    assert verdicts[0].reason == f"{groups}; positive is 1, the last of 0, 1"


def test_only_what_is_asked_for_is_answered() -> None:
    subject = make_subject(COLUMNS, LABELS, Plain(lambda r: r["score"]))
    (verdict,) = check(subject, FairnessLimits(("group",), demographic_parity=AtMostShare(max=0.6)))
    assert str(verdict) == "PASS: fairness.group.demographic_parity=0.5 <= 0.6"


def test_a_group_too_small_to_judge_is_inconclusive_either_way() -> None:
    columns = {"group": [0] * 75 + [1] * 5, "score": [0.9] * 80}
    subject = make_subject(columns, [0, 1] * 40, Plain(lambda r: r["score"]))
    (verdict,) = check(subject, FairnessLimits(("group",), demographic_parity=AtMostShare(max=0.3)))
    assert verdict.outcome is CheckOutcome.INCONCLUSIVE
    assert "only 5 rows of 1: 30 are needed" in verdict.reason


def test_a_column_that_is_not_there_is_named() -> None:
    subject = make_subject(COLUMNS, LABELS, Plain(lambda r: r["score"]))
    with pytest.raises(ValueError, match="no column age"):
        groups(subject, "age")
