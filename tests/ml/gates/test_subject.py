"""What answers and labels mean to the checks, where types, shapes and classes are not the usual ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.datasets.dataset import Dataset
from ml.datasets.evaluation_set import own_file
from ml.environment.gate_schema import AtLeast, AtMost, AtMostShare, ChampionPolicy, FairnessLimits
from ml.evidence import CheckOutcome
from ml.gates import CHECKS
from ml.gates.answers import Answers
from ml.gates.subject import MISSING, Champion, Subject
from serving.model.model_dir import Column, ModelDir
from tests.support.subjects import Plain

ANY, NONE = AtMost(max=1e9), AtLeast(min=0.0)


def subject(labels: Any, answers: Answers, champion: Answers | None = None, positive: Any = None) -> Subject:
    data = labels if isinstance(labels, Dataset) else _data(labels)
    live = None if champion is None else Champion("m v1", (), "", champion)
    return Subject("m v2", data, [], Plain(lambda _: 0.0), answers, (), champion=live, positive=positive)


def _data(labels: Sequence[Any]) -> Dataset:
    return Dataset(pd.DataFrame({"n": range(len(labels))}), np.array(labels), "sha256:0")


def test_labels_that_look_like_numbers_are_texts_where_the_model_answers_texts(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("n,y\n1,1\n2,2\n3,2\n4,010\n")
    data = own_file(tmp_path / "rows.csv", "y")(ModelDir(Path(), [Column("n", "long")], (), frozenset(), None, None))
    answers = Answers.of(["1", "2", "1", "010"])
    assert CHECKS["accuracy"](subject(data, answers), NONE)[0].value == 0.75
    numbers = Answers.of([1, 2, 1, 10])
    assert CHECKS["accuracy"](subject(data, numbers), NONE)[0].value == 0.75


def test_labels_that_no_answer_can_equal_are_refused_with_both() -> None:
    with pytest.raises(ValueError, match="the labels are no, yes, and the model answers 0, 1: write the labels as"):
        CHECKS["accuracy"](subject(["no", "yes"], Answers.of([0, 1])), NONE)


@pytest.mark.parametrize("answers", [[[1.5, 2], [3, 4]], [{"a": 1, "b": 2}, {"a": 3, "b": 4}]])
def test_several_values_per_row_are_refused_by_checks_that_need_one(answers: list[Any]) -> None:
    for name in ("accuracy", "mae", "f1"):
        with pytest.raises(ValueError, match="this check needs one value per row"):
            CHECKS[name](subject([1, 2], Answers.of(answers)), ANY)


def test_whole_numbers_can_be_classes_or_amounts_and_whole_floats_only_amounts() -> None:
    whole = subject([1, 2, 4], Answers.of([1, 2, 3]))
    assert CHECKS["accuracy"](whole, NONE)[0].value == pytest.approx(2 / 3)
    assert CHECKS["mae"](whole, ANY)[0].value == pytest.approx(1 / 3)
    floats = subject([1, 2, 4], Answers.of([1.0, 2.0, 3.0]))
    assert CHECKS["mae"](floats, ANY)[0].value == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="the model is a regression"):
        CHECKS["accuracy"](floats, NONE)


def test_a_class_of_neither_labels_nor_answers_keeps_its_probabilities() -> None:
    table = np.array([[0.1, 0.8, 0.1], [0.2, 0.1, 0.7]])
    found = CHECKS["log_loss"](subject(["b", "c"], Answers.of(["b", "c"], table, ("a", "b", "c"))), ANY)
    assert found[0].value == pytest.approx(-np.mean(np.log([0.8, 0.7])))


def test_probabilities_whose_classes_nobody_names_are_refused_unless_the_rows_show_all() -> None:
    table = np.array([[0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.6, 0.2, 0.2]])
    whole = subject(["b", "c", "a"], Answers.of(["b", "c", "a"], table))
    assert CHECKS["log_loss"](whole, ANY)[0].value == pytest.approx(-np.mean(np.log([0.8, 0.7, 0.6])))
    with pytest.raises(ValueError, match="3 probabilities per row and does not name their classes, and there are 2"):
        CHECKS["log_loss"](subject(["b", "c"], Answers.of(["b", "c"], table[:2])), ANY)


@pytest.mark.parametrize("row", [[1.0, 1.0], [0.5, 0.4], [-0.5, 1.5]])
def test_numbers_that_are_no_probabilities_are_not_scored(row: list[float]) -> None:
    answers = Answers.of([0, 1], np.array([[0.5, 0.5], row]), (0, 1))
    for name in ("log_loss", "roc_auc", "calibration_error"):
        with pytest.raises(ValueError, match="the model's probabilities for row 1 are none"):
            CHECKS[name](subject([0, 1], answers), ANY)


def test_a_positive_class_that_there_is_not_is_named() -> None:
    answers = Answers.of([0, 1], np.array([[0.9, 0.1], [0.2, 0.8]]), (0, 1))
    with pytest.raises(ValueError, match="`positive: yes` is none of the classes 0, 1"):
        CHECKS["f1"](subject([0, 1], answers, positive="yes"), NONE)


def test_one_class_in_the_rows_can_not_be_ranked() -> None:
    answers = Answers.of([0, 1], np.array([[0.9, 0.1], [0.2, 0.8]]), (0, 1))
    with pytest.raises(ValueError, match="the rows need two classes to rank, found only 1"):
        CHECKS["roc_auc"](subject([1, 1], answers), NONE)


def test_rows_without_a_category_are_a_category() -> None:
    data = Dataset(pd.DataFrame({"city": ["a", None] * 40}), np.array([0, 1] * 40), "sha256:0")
    own = subject(data, Answers.of([0, 1] * 40), champion=Answers.of([0, 0] * 40))
    (parity,) = CHECKS["fairness"](own, FairnessLimits(columns=("city",), demographic_parity=AtMostShare(max=0.5)))
    assert parity.value == 1.0
    assert f"{MISSING}: 100% of 40 decided positive" in parity.reason
    slices = CHECKS["champion"](own, ChampionPolicy(require="hold", slices=("city",)))[1]
    assert slices.outcome is CheckOutcome.PASS


@pytest.mark.parametrize(
    ("champion", "metric", "says"),
    [
        (Answers.of(["0", "1"]), "accuracy", "the model answers 0, 1"),
        (Answers.of([0, 1]), "log_loss", "gives no probabilities"),
        (Answers.of([[0, 1], [1, 0]]), "accuracy", "needs one value per row"),
    ],
)
def test_a_live_version_that_can_not_be_compared_leaves_a_way_out(champion: Answers, metric: Any, says: str) -> None:
    answers = Answers.of([0, 1], np.array([[0.9, 0.1], [0.2, 0.8]]), (0, 1))
    (verdict,) = CHECKS["champion"](subject([0, 1], answers, champion), ChampionPolicy(require="hold", metric=metric))
    assert verdict.outcome is CheckOutcome.INCONCLUSIVE
    assert verdict.reason.startswith("m v1, which is live, can't be compared with m v2: ")
    assert says in verdict.reason
    assert "`override`" in verdict.reason
