"""Every number of a check is what scikit-learn computes from the same answers, whatever the labels are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ml.datasets.dataset import Dataset
from ml.environment.gate_schema import AtLeast, AtMost, AtMostShare, ChampionPolicy, FairnessLimits
from ml.evidence import CheckOutcome
from ml.gates import CHECKS
from ml.gates.answers import Answers
from ml.gates.subject import Champion, Subject
from tests.support.subjects import Plain

ANY, SOME = AtMost(max=1e12), AtLeast(min=0.0)
KINDS: Mapping[str, tuple[Any, ...]] = {
    "numbers": (0, 1, 2, 3),
    "texts of numbers": ("1", "2", "3", "4"),
    "words": ("ash", "elm", "oak", "yew"),
    "floats": (0.0, 1.0, 2.0, 3.0),
    "booleans": (False, True),
}


@dataclass(frozen=True)
class Compared:
    """The answers of two versions, and labels that need not hold every class."""

    classes: tuple[Any, ...]
    labels: tuple[Any, ...]
    tables: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]

    def answers(self, version: int) -> Answers:
        table = self.tables[version]
        return Answers.of([self.classes[n] for n in table.argmax(axis=1)], table, self.classes)

    def subject(self, positive: Any = None) -> Subject:
        features = pd.DataFrame({"n": range(len(self.labels)), "group": ["a", None] * (len(self.labels) // 2)})
        data = Dataset(features, np.array(self.labels), "sha256:0")
        own = Subject("m v2", data, [], Plain(lambda _: 0.0), self.answers(0), (), positive=positive)
        return replace(own, champion=Champion("m v1", (), "", self.answers(1)))


@st.composite
def cases(draw: st.DrawFn) -> Compared:
    every = draw(st.sampled_from(sorted(KINDS)))
    classes = KINDS[every][: draw(st.integers(2, 4))]
    seen = draw(st.lists(st.sampled_from(classes), min_size=2, max_size=len(classes), unique=True))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    labels = (*seen, *(seen[n] for n in random.integers(0, len(seen), 38)))
    labels += () if len(labels) % 2 == 0 else (seen[0],)
    one, other = (random.dirichlet(np.full(len(classes), 0.7), len(labels)) for _ in range(2))
    return Compared(classes, labels, (one, other))


def measured(subject: Subject, *names: str) -> dict[str, float]:
    return {name: CHECKS[name](subject, ANY)[0].value for name in names}


@given(case=cases())
def test_numbers_of_a_classifier_are_scikit_learns(case: Compared) -> None:
    true, table = np.array(case.labels), case.tables[0]
    said, classes = np.array(case.answers(0).labels), list(case.classes)
    found = measured(case.subject(), "accuracy", "f1", "log_loss", "roc_auc")
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(true, said))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(true, table, labels=classes))
    if len(classes) == 2:
        assert found["f1"] == pytest.approx(metrics.f1_score(true == classes[1], said == classes[1], zero_division=0))
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(true == classes[1], table[:, 1]))
        return
    assert found["f1"] == pytest.approx(metrics.f1_score(true, said, average="macro", zero_division=0))
    there = [n for n, one in enumerate(classes) if (true == one).any()]
    each = [metrics.roc_auc_score(true == classes[n], table[:, n]) for n in there]
    assert found["roc_auc"] == pytest.approx(np.mean(each))
    if len(there) == len(classes):
        whole = metrics.roc_auc_score(true, table, multi_class="ovr", labels=classes)
        assert found["roc_auc"] == pytest.approx(whole)


@given(case=cases(), data=st.data())
def test_the_class_that_the_gate_names_is_the_positive_one(case: Compared, data: st.DataObject) -> None:
    positive = data.draw(st.sampled_from([c for c in case.classes if c in case.labels]))
    true, column = np.array(case.labels) == positive, case.tables[0][:, case.classes.index(positive)]
    said = np.array(case.answers(0).labels) == positive
    subject = case.subject(str(positive))
    found = measured(subject, "f1", "roc_auc")
    assert found["f1"] == pytest.approx(metrics.f1_score(true, said, zero_division=0))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(true, column))
    limits = FairnessLimits(columns=("group",), demographic_parity=AtMostShare(max=1.0))
    for verdict in (*CHECKS["f1"](subject, SOME), *CHECKS["fairness"](subject, limits)):
        assert f"positive is {positive}, as the gate says" in verdict.reason


@given(case=cases())
def test_the_difference_to_the_champion_is_that_of_scikit_learns_numbers(case: Compared) -> None:
    true, classes = np.array(case.labels), list(case.classes)
    losses = [metrics.log_loss(true, table, labels=classes) for table in case.tables]
    right = [metrics.accuracy_score(true, np.array(case.answers(n).labels)) for n in (0, 1)]
    for metric, expected in (("log_loss", losses[1] - losses[0]), ("accuracy", right[0] - right[1])):
        (verdict,) = CHECKS["champion"](case.subject(), ChampionPolicy(require="hold", metric=metric))
        assert verdict.value == pytest.approx(expected, abs=1e-9)


@given(case=cases())
def test_a_duplicate_of_the_champion_differs_by_exactly_nothing(case: Compared) -> None:
    same = replace(case, tables=(case.tables[1], case.tables[1])).subject()
    for metric in ("log_loss", "accuracy"):
        policy = ChampionPolicy(require="hold", metric=metric, margin=0.0, slices=("group",))
        whole, slices = CHECKS["champion"](same, policy)
        assert (whole.value, whole.outcome) == (0.0, CheckOutcome.PASS)
        assert slices.value == 0.0


NUMBERS = ("accuracy", "f1", "log_loss", "roc_auc")


@given(case=cases(), seed=st.integers(0, 1000))
def test_the_order_of_the_rows_does_not_count(case: Compared, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(case.labels))
    other = replace(
        case, labels=tuple(case.labels[n] for n in order), tables=(case.tables[0][order], case.tables[1][order])
    )
    positive = case.labels[0]
    one = measured(case.subject(positive), *NUMBERS, "calibration_error")
    assert measured(other.subject(positive), *NUMBERS, "calibration_error") == pytest.approx(one)


@given(case=cases())
def test_the_names_of_the_classes_do_not_count(case: Compared) -> None:
    names = dict(zip(case.classes, ("z", "y", "x", "w"), strict=False))
    other = replace(
        case, classes=tuple(names[c] for c in case.classes), labels=tuple(names[label] for label in case.labels)
    )
    positive = case.labels[0]
    renamed = measured(other.subject(names[positive]), *NUMBERS)
    assert renamed == pytest.approx(measured(case.subject(positive), *NUMBERS))


@given(
    truth=st.lists(st.integers(-1000, 1000), min_size=2, max_size=40),
    shape=st.sampled_from(["[n]", "[n, 1]", "records"]),
    seed=st.integers(0, 1000),
)
def test_numbers_of_a_regression_are_scikit_learns_in_every_shape(truth: list[int], shape: str, seed: int) -> None:
    said = np.random.default_rng(seed).normal(0, 300, len(truth)).round(seed % 3)
    forms: dict[str, Callable[[float], Any]] = {"[n]": float, "[n, 1]": lambda v: [v], "records": lambda v: {"y": v}}
    answers = Answers.of([forms[shape](float(v)) for v in said])
    data = Dataset(pd.DataFrame({"n": truth}), np.array(truth), "sha256:0")
    found = measured(Subject("m v1", data, [], Plain(lambda _: 0.0), answers, ()), "mae", "rmse", "r2")
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, said))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, said))
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, said))
