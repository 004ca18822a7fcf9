"""Generated models, judged the whole way: file of rows, server, checks. Every number is what scikit-learn computes.

The reference asks MLflow about one row at a time. ``GENERATED_VERDICTS=3000`` tries as many models.
"""

import csv
import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ml.datasets.evaluation_set import own_file
from ml.environment.gate_schema import AtMost, ChampionPolicy
from ml.evaluation.measure import describe, load_champion, measure
from ml.evaluation.server_process import Artifacts, serving, usual_limits
from ml.gates import CHECKS
from serving.model.digest import digest_tree
from serving.model.loader import Cache
from tests.support import generated_models
from tests.support.examples import examples
from tests.support.generated_models import (
    ESTIMATORS,
    LABELS,
    REGRESSORS,
    VALUES,
    Spec,
    fitted,
    save_pipeline,
    table_of,
)
from tests.support.mlflow_answers import MlflowAnswers

pytestmark = pytest.mark.long

MODELS = int(os.environ.get("GENERATED_VERDICTS") or examples(6))
CLASSIFIERS = sorted(set(ESTIMATORS) - REGRESSORS - {"two questions"})
LABEL = "answer"
ANY = AtMost(max=1e12)
SHARE_GIVEN = 0.8  # of an optional column
EXACT = 1e-6  # what 32-bit arithmetic makes of other numbers of rows at once


@dataclass(frozen=True)
class VersionComparison:
    """Two versions of a model, and rows with their true answers."""

    spec: Spec
    seeds: tuple[int, int]
    rows: Sequence[dict[str, Any]]
    labels: Sequence[Any]

    @property
    def is_regression(self) -> bool:
        return self.spec.detail.split("/")[0] in REGRESSORS


@st.composite
def cases(draw: st.DrawFn) -> VersionComparison:
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    columns = tuple((f"c{n}", kind, draw(st.booleans())) for n, kind in enumerate(kinds))
    estimator, kind = (
        draw(st.sampled_from([*CLASSIFIERS, *sorted(REGRESSORS)])),
        draw(st.sampled_from(sorted(LABELS))),
    )
    seed, count = draw(st.integers(0, 10**6)), draw(st.integers(20, 60))
    random = np.random.default_rng(seed)
    table = table_of(columns, count, seed)
    rows = [
        {
            n: None if not required and random.random() < 0.2 else _plain(table[n].iloc[row])
            for n, _, required in columns
        }
        for row in range(count)
    ]
    if estimator in REGRESSORS:
        labels: Sequence[Any] = random.normal(size=count).tolist()
    else:
        some = draw(st.lists(st.sampled_from(LABELS[kind]), min_size=2, max_size=3, unique=True))
        labels = [*some, *(some[n] for n in random.integers(0, len(some), count - len(some)))]
    return VersionComparison(
        Spec(columns, "sklearn", f"{estimator}/{kind}", rows), (0, draw(st.integers(0, 2))), rows, labels
    )


@pytest.fixture(autouse=True, scope="module")
def _pickled_whole() -> Iterator[None]:
    """The gate's server reads no tests, so a model brings the class of its own."""
    cloudpickle.register_pickle_by_value(generated_models)
    yield
    cloudpickle.unregister_pickle_by_value(generated_models)


@settings(
    max_examples=MODELS,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking one would take minutes
    suppress_health_check=list(HealthCheck),
)
@given(case=cases())
@pytest.mark.timeout(0)
def test_every_number_of_the_gate_is_scikit_learns(case: VersionComparison) -> None:
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn, about classes that are not there
        check(case, Path(scratch))


def check(case: VersionComparison, scratch: Path) -> None:
    """Judge the first version, with the second as champion."""
    versions = [Version(case, number, scratch) for number in (0, 1)]
    if any(version.fails for version in versions):
        return  # MLflow fails over some nulls that are answered here
    (scratch / "rows.csv").write_text(_csv(case))
    one, other = (version.artifacts for version in versions)
    limits = usual_limits()
    described = describe(one, _path(one), own_file(scratch / "rows.csv", LABEL))
    with serving(one, limits) as server:
        subject = measure(server, described, costs=False)
    subject = replace(subject, champion=load_champion(other, _path(other), subject, limits))
    expected, theirs = (version.numbers() for version in versions)
    for name, value in expected.items():
        assert _near(CHECKS[name](subject, ANY)[0].value, value), (name, value, case.spec.detail)
    gains = (
        {"squared_error": theirs["rmse"] ** 2 - expected["rmse"] ** 2}
        if case.is_regression
        else {
            "accuracy": expected["accuracy"] - theirs["accuracy"],
            "log_loss": theirs["log_loss"] - expected["log_loss"],
        }
    )
    for metric, gain in gains.items():
        verdict = CHECKS["champion"](subject, ChampionPolicy(require="hold", metric=metric))[0]
        assert _near(verdict.value, gain), (metric, gain, verdict.reason)
        assert verdict.value == 0.0 or case.seeds[0] != case.seeds[1]  # a duplicate differs by exactly nothing


def _path(artifacts: Artifacts) -> Path:
    return Cache(artifacts.cache).path_of(artifacts.digest)


def _near(value: float, expected: float) -> bool:
    return value == pytest.approx(expected, abs=EXACT, rel=EXACT)


class Version:
    """A fitted pipeline, saved, and what MLflow's server answers to each row alone."""

    def __init__(self, case: VersionComparison, number: int, scratch: Path) -> None:
        model, directory = fitted(case.spec, case.seeds[number]), scratch / f"model {number}"
        self.case = case
        self.classes = [] if case.is_regression else model.classes_.tolist()
        save_pipeline(case.spec, model, directory)
        self.answers = _answers(directory, case.rows)
        self.chances: list[Any] = []
        if self.classes:
            save_pipeline(case.spec, model, scratch / f"chances {number}", "predict_proba")
            self.chances = _answers(scratch / f"chances {number}", case.rows)
        digest = digest_tree(directory)
        cache = Cache(scratch / f"cache {number}")
        cache.root.mkdir()
        directory.rename(cache.path_of(digest))
        self.artifacts = Artifacts("m", number + 1, digest, cache.root)

    @property
    def fails(self) -> bool:
        """Whether MLflow has no answer to some row."""
        return None in self.answers or None in self.chances

    def numbers(self) -> dict[str, float]:
        """Every number of the gate, as scikit-learn computes it."""
        true, said, classes = np.array(self.case.labels), np.array(self.answers), self.classes
        if self.case.is_regression:
            return {
                "mae": metrics.mean_absolute_error(true, said),
                "rmse": metrics.root_mean_squared_error(true, said),
                "r2": metrics.r2_score(true, said),
            }
        table, positive = np.array(self.chances), classes[-1]
        found = {
            "accuracy": metrics.accuracy_score(true, said),
            "log_loss": metrics.log_loss(true, table, labels=classes),
        }
        if len(classes) == 2:
            f1 = metrics.f1_score(true == positive, said == positive, zero_division=0)
            return {**found, "f1": f1, "roc_auc": metrics.roc_auc_score(true == positive, table[:, -1])}
        areas = [
            metrics.roc_auc_score(true == one, column)
            for one, column in zip(classes, table.T, strict=True)
            if (true == one).any()
        ]
        f1 = metrics.f1_score(true, said, average="macro", zero_division=0)
        return {**found, "f1": f1, "roc_auc": float(np.mean(areas))}


def _answers(directory: Path, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """Ask MLflow's server about one row at a time; None: it fails."""
    model = MlflowAnswers(directory)
    said = []
    for row in rows:
        body = json.dumps({"dataframe_records": [row]}).encode()
        found = model.ask(body, "application/json")
        said.append(None if found is None else found[0])
    return said


def _csv(case: VersionComparison) -> str:
    """The rows as a person would export them: nothing for what is missing."""
    sink = io.StringIO()
    writer = csv.writer(sink)
    writer.writerow([*(name for name, _, _ in case.spec.columns), LABEL])
    for row, label in zip(case.rows, case.labels, strict=True):
        writer.writerow([*("" if value is None else value for value in row.values()), label])
    return sink.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value
