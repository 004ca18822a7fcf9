from ml.environment.gate_schema import AtMostShare, RobustnessLimits
from ml.evidence import CheckOutcome
from ml.gates.robustness import UNSEEN, check
from ml.gates.subject import Record
from tests.support.subjects import Plain, make_subject

NONE = AtMostShare(max=0)
NUMBERS = [float(n) for n in range(100)]


def test_a_model_that_balances_on_an_edge_flips_under_noise_and_a_steady_one_does_not() -> None:
    brittle = make_subject({"x": NUMBERS}, [0, 1] * 50, Plain(lambda r: float(r["x"] % 1 > 0)))
    steady = make_subject({"x": NUMBERS}, [0, 1] * 50, Plain(lambda r: float(r["x"] > 49.5)))
    limits = RobustnessLimits(noise=AtMostShare(max=0.05))
    (verdict,) = check(brittle, limits)
    assert verdict.outcome is CheckOutcome.FAIL
    assert verdict.value > 0.9
    assert "a little noise on x" in verdict.reason
    assert "worst at row" in verdict.reason
    assert check(steady, limits)[0].outcome is CheckOutcome.PASS


def test_a_field_that_may_be_missing_is_left_out_and_one_that_may_not_is_not() -> None:
    def model(record: Record) -> float:
        assert record["needed"] is not None
        return 0.9 if record["x"] is None else 0.1

    subject = make_subject({"x": NUMBERS, "needed": NUMBERS}, [0, 1] * 50, Plain(model), optional=["x"])
    (verdict,) = check(subject, RobustnessLimits(missing=NONE))
    assert str(verdict) == "FAIL: robustness.missing=1 > 0"
    assert "without x: 100.0% of the decisions flip" in verdict.reason


def test_where_nothing_may_be_missing_nothing_flips() -> None:
    subject = make_subject({"x": NUMBERS}, [0, 1] * 50, Plain(lambda r: 0.1))
    assert check(subject, RobustnessLimits(missing=NONE))[0].outcome is CheckOutcome.PASS


def test_the_worst_text_column_counts_and_the_row_is_named() -> None:
    columns = {"plan": ["a", "b"] * 50, "city": ["x"] * 100}
    subject = make_subject(columns, [0, 1] * 50, Plain(lambda r: 0.9 if r["plan"] == "a" else 0.2))
    (verdict,) = check(subject, RobustnessLimits(unseen=AtMostShare(max=0.4)))
    assert verdict.value == 0.5
    assert "with an unseen plan: 50.0% of the decisions flip; worst at row 0: 1 (90%) becomes 0 (80%) as " in (
        verdict.reason
    )
    assert UNSEEN in verdict.reason


def test_a_model_that_fails_on_an_unseen_text_flips_everything() -> None:
    def model(record: Record) -> float:
        return {"a": 0.1, "b": 0.9}[record["plan"]]

    subject = make_subject({"plan": ["a", "b"] * 50}, [0, 1] * 50, Plain(model))
    (verdict,) = check(subject, RobustnessLimits(unseen=NONE))
    assert verdict.value == 1
    assert "the model fails: " in verdict.reason


def test_the_same_noise_is_tried_every_time() -> None:
    subject = make_subject({"x": NUMBERS}, [0, 1] * 50, Plain(lambda r: float(r["x"] % 2 > 0.9)))
    limits = RobustnessLimits(noise=NONE)
    assert check(subject, limits) == check(subject, limits)
