"""A row's answer depends on that row alone: on no other caller's rows, and on no other row of its own request."""

import asyncio
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from sklearn.decomposition import NMF
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from serving.app import ModelServer
from serving.errors import UnsupportedModelError
from serving.metrics import Metrics
from serving.model.predictions import Predictions, concatenated
from serving.model.predictor import load_predictor
from serving.model.runtimes.answers import predictions_of
from serving.model.runtimes.rowwise import answers_row_by_row
from tests.serving.conftest import serve
from tests.support.asgi import asking, post


def as_text(table: Any) -> Any:
    return table.astype(str)


def centred(table: Any) -> Any:
    return table - table.mean()


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> ModelServer:
    """Reads an optional whole number as text: 2 and 2.0 are two different plans to it."""
    directory = tmp_path_factory.mktemp("plans") / "m"
    table = pd.DataFrame({"plan": [1, 2, 3] * 20, "x": [0.1] * 60})
    model = Pipeline(
        [
            ("text", FunctionTransformer(as_text)),
            ("code", OneHotEncoder(handle_unknown="ignore")),
            ("classify", LogisticRegression()),
        ]
    ).fit(table, table["plan"] == 2)
    inputs = Schema([ColSpec(DataType.long, "plan", required=False), ColSpec(DataType.double, "x")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            str(directory),
            signature=ModelSignature(inputs),
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )
    return serve(directory)


def test_another_callers_null_does_not_change_an_answer(plans: ModelServer) -> None:
    asked: list[Any] = [{"plan": 2, "x": 0.1}, {"plan": None, "x": 0.1}] * 20
    alone = [post(plans, "/predict", row).json for row in asked[:2]]
    assert alone[0]["probabilities"] != alone[1]["probabilities"]

    async def at_once() -> list[Any]:
        bodies = [json.dumps(row).encode() for row in asked]
        found = await asyncio.gather(
            *(asking(plans, "POST", "/predict", body, content_type="application/json") for body in bodies)
        )
        return [answer.json for answer in found]

    assert asyncio.run(at_once()) == alone * 20


def test_a_null_in_the_same_request_does_not_change_an_answer(plans: ModelServer) -> None:
    rows = [{"plan": None, "x": 0.1}, {"plan": 2, "x": 0.1}, {"x": 0.1}, {"plan": 3, "x": 0.1}]
    alone = [post(plans, "/predict", row).json["probabilities"][0] for row in rows]
    together = post(plans, "/predict", rows).json["probabilities"]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "independent"),
    [
        (Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())]), True),
        (Pipeline([("log", FunctionTransformer(np.log1p)), ("classify", LogisticRegression())]), True),
        (Pipeline([("rank", FunctionTransformer(as_text)), ("classify", LogisticRegression())]), False),
        (Pipeline([("parts", NMF(2)), ("classify", LogisticRegression())]), False),
        (type("Own", (LogisticRegression,), {"__module__": "churn"})(), False),
    ],
)
def test_requests_are_merged_only_for_estimators_that_are_known_to_answer_row_by_row(
    estimator: Any, independent: bool
) -> None:
    assert answers_row_by_row(estimator) is independent


def test_a_model_whose_answers_depend_on_the_rows_beside_is_refused_with_the_reason(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [1.0, 5.0, 3.0]})
    model = Pipeline([("centre", FunctionTransformer(centred)), ("line", LinearRegression())]).fit(table, table["x"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            str(tmp_path / "m"),
            signature=ModelSignature(Schema([ColSpec(DataType.double, "x")])),
            input_example=table,
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )
    with pytest.raises(UnsupportedModelError, match="answer to row 0 of its input example is another one"):
        load_predictor(tmp_path / "m")


@pytest.mark.parametrize(
    ("labels", "counted"),
    [
        (np.array([["a"], ["b"], ["a"]]), {"a": 2, "b": 1}),
        (np.array([[1, 0], [1, 0], [0, 0]]), {"[1, 0]": 2, "[0, 0]": 1}),
    ],
)
def test_labels_of_two_dimensions_are_counted_row_by_row(labels: Any, counted: dict[str, int]) -> None:
    metrics = Metrics({})
    metrics.batch(Predictions(labels, np.full((3, 2), 0.5)))
    assert metrics.predictions == counted


def test_an_answer_that_cannot_be_counted_is_an_answer_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    unhashable = np.empty(1, dtype=object)
    unhashable[0] = {"a": 1}
    Metrics({}).batch(Predictions(unhashable, np.full((1, 2), 0.5)))
    assert "could not count an answer" in caplog.text


def test_parts_of_other_types_are_joined_without_changing_a_value() -> None:
    parts: list[Callable[[], Any]] = [lambda: [1, 2], lambda: [0.5], lambda: ["a"]]
    joined = concatenated([predictions_of(part(), len(part())) for part in parts])
    assert [(type(value), value) for value in joined.labels.tolist()] == [
        (int, 1),
        (int, 2),
        (float, 0.5),
        (str, "a"),
    ]
