import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.environment.file import parse_environment
from ml.environment.gate_schema import AtLeast, AtMost, Gate, checks_of
from ml.evidence import CheckOutcome
from ml.gates import CHECKS
from ml.gates.answers import Answers
from ml.gates.subject import Served
from tests.support.subjects import Plain, make_subject

ANY = AtMost(max=1e9)


def test_every_check_that_an_environment_file_can_ask_for_is_there_and_the_other_way_round() -> None:
    assert set(CHECKS) == set(checks_of(Gate.__annotations__))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("accuracy", 0.75, "3 of 4 rows are answered correctly"),
        ("roc_auc", 0.75, "75.0%"),
        ("f1", 2 / 3, "1 of 2 rows of class 1 are found, in 1 such answers"),
        ("log_loss", -np.mean(np.log([0.9, 0.6, 0.35, 0.8])), "0.62"),
        ("calibration_error", (0.1 + 0.4 + 0.65 + 0.2) / 4, "called 35% likely and 100% of them come true"),
    ],
)
def test_a_check_measures_one_thing_and_says_it_in_a_sentence(name: str, value: float, says: str) -> None:
    subject = make_subject({"p": [0.1, 0.4, 0.35, 0.8]}, [0, 0, 1, 1], Plain(lambda r: r["p"]))
    (verdict,) = CHECKS[name](subject, ANY)
    assert verdict.name == name
    assert verdict.value == pytest.approx(value, abs=1e-9)
    assert says in verdict.reason


def test_f1_is_zero_where_the_positive_class_is_never_found() -> None:
    subject = make_subject({"p": [0.1, 0.2]}, [0, 1], Plain(lambda r: r["p"]))
    assert CHECKS["f1"](subject, AtLeast(min=0.1))[0].outcome is CheckOutcome.FAIL


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "calibration_error"])
def test_a_check_of_probabilities_says_when_there_are_none(name: str) -> None:
    subject = make_subject({"p": [0.1, 0.9]}, [0, 1], Plain(lambda r: r["p"]))
    without = replace(subject, answers=Answers(subject.answers.labels, None))
    with pytest.raises(ValueError, match="no probabilities"):
        CHECKS[name](without, ANY)


@pytest.mark.parametrize(
    ("name", "value"), [("mae", 1.0), ("rmse", np.sqrt(1.5)), ("r2", 1 - 6 / np.square([1.5, 0.5, 0.5, 1.5]).sum())]
)
def test_a_regression_is_measured_in_its_own_unit(name: str, value: float) -> None:
    subject = make_subject(
        {"x": [1.0, 3.0, 3.0, 6.0]}, [1.0, 2.0, 3.0, 4.0], Plain(lambda r: r["x"], regression=True)
    )
    subject = replace(subject, answers=Answers(np.array([1.0, 3.0, 4.0, 2.0]), None))
    assert CHECKS[name](subject, ANY)[0].value == pytest.approx(value)


@pytest.mark.parametrize("name", ["accuracy", "f1", "log_loss", "roc_auc"])
def test_a_check_of_classes_refuses_a_regression(name: str) -> None:
    subject = make_subject({"x": [1.0, 2.0]}, [1.5, 2.5], Plain(lambda r: r["x"], regression=True))
    with pytest.raises(ValueError, match="needs classes"):
        CHECKS[name](subject, ANY)


@pytest.mark.parametrize("name", ["mae", "rmse", "r2"])
def test_a_check_of_numbers_refuses_a_classifier(name: str) -> None:
    subject = make_subject({"p": [0.1, 0.9]}, [0, 1], Plain(lambda r: r["p"]))
    with pytest.raises(ValueError, match="needs a regression"):
        CHECKS[name](subject, ANY)


def test_three_classes_are_measured_too() -> None:
    subject = make_subject({"x": [0.0, 1.0, 2.0]}, ["ash", "elm", "oak"], Plain(lambda r: 0.0))
    shares = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.5, 0.4]])
    subject = replace(subject, answers=Answers(np.array(["ash", "elm", "elm"]), shares))
    values = {name: CHECKS[name](subject, ANY)[0].value for name in ("accuracy", "f1", "log_loss", "roc_auc")}
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert values["log_loss"] == pytest.approx(-np.mean(np.log([0.8, 0.6, 0.4])))
    assert values["roc_auc"] == 1
    with pytest.raises(ValueError, match="two classes, found 3"):
        CHECKS["calibration_error"](subject, ANY)


def test_latency_and_memory_come_from_one_server_of_their_own() -> None:
    subject = make_subject({"p": [0.1, 0.9]}, [0, 1], Plain(lambda r: r["p"]))
    with pytest.raises(ValueError, match="no server"):
        CHECKS["memory_mb"](subject, ANY)
    served = replace(subject, served=Served(1.5, 60.0, 300, 120.0, "onnx"))
    assert str(CHECKS["latency_p95_ms"](served, AtMost(max=50))[0]) == "FAIL: latency_p95_ms=60 > 50"
    assert str(CHECKS["memory_mb"](served, AtMost(max=200))[0]) == "PASS: memory_mb=120 <= 200"


def test_the_documentation_names_every_check_and_its_example_is_valid() -> None:
    text = (Path(__file__).parents[3] / "docs" / "gate.md").read_text()
    table = {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert table == set(CHECKS)
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example
    read = parse_environment(
        f"environment: e\nregistry: {{alias: e}}\n{example[1]}models: {{}}\n".encode(), "gate.md"
    )
    assert set(CHECKS) - set(read.gate) == {"mae", "rmse", "r2", "data"}


def test_an_environment_file_can_ask_for_all_of_it() -> None:
    text = b"""\
environment: e
registry: {alias: e}
gate:
  schema: {max: 0}
  fairness: {columns: [senior_citizen, female], demographic_parity: {max: 0.3}}
  robustness: {noise: {max: 0}}
  drift: {psi: {max: 0.2}, ks: {max: 0.1}}
  champion: {require: improve, slices: [contract]}
models: {}
"""
    gate = parse_environment(text, "e.yaml").gate
    assert gate["fairness"].columns == ("senior_citizen", "female")
    assert gate["fairness"].equalized_odds is None
    assert gate["robustness"].noise.max == 0
    assert gate["champion"].metric == "accuracy"
