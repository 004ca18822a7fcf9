import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.gates.model_kind import Kind, kind_of
from serving.errors import UnsupportedModelError
from tests.support.small_models import save_pyfunc, save_tensor_regressor, save_two_questions


def described(directory: Path, outputs: list[dict[str, Any]] | None, **flavors: dict[str, Any]) -> Path:
    signature = {"inputs": "[]", "outputs": None if outputs is None else json.dumps(outputs)}
    (directory / "MLmodel").write_text(yaml.safe_dump({"signature": signature, "flavors": flavors}))
    return directory


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}


@pytest.mark.parametrize(
    ("outputs", "kind", "because"),
    [
        ([{"type": "long"}], Kind.CLASSIFICATION, "it answers with long values"),
        ([{"type": "string", "name": "label"}], Kind.CLASSIFICATION, "it answers with string values"),
        ([{"type": "double"}], Kind.REGRESSION, "it answers with double values"),
        ([tensor("int64", -1)], Kind.CLASSIFICATION, "it answers with long values"),
        ([tensor("str", -1)], Kind.CLASSIFICATION, "it answers with string values"),
        ([tensor("float32", -1, 1)], Kind.REGRESSION, "it answers with double values"),
        ([tensor("float64", -1, 3)], Kind.NONE, "it answers with a tensor of shape (-1, 3)"),
        ([{"type": "datetime"}], Kind.NONE, "it answers with datetime"),
        ([{"type": "double"}, {"type": "double"}], Kind.NONE, "its signature has 2 outputs"),
        ([], Kind.NONE, "its signature has no outputs"),
        (None, Kind.NONE, "its signature has no outputs"),
    ],
)
def test_the_answers_say_the_kind(
    tmp_path: Path, outputs: list[dict[str, Any]] | None, kind: Kind, because: str
) -> None:
    found = kind_of(described(tmp_path, outputs))
    assert (found.kind, found.because) == (kind, because)


@pytest.mark.parametrize(
    ("flavor", "kind"),
    [
        ({"model_class": "xgboost.sklearn.XGBClassifier"}, Kind.CLASSIFICATION),
        ({"model_class": "lightgbm.sklearn.LGBMRegressor"}, Kind.REGRESSION),
        ({"model_type": "CatBoostClassifier"}, Kind.CLASSIFICATION),
        ({"model_class": "xgboost.core.Booster"}, Kind.REGRESSION),
    ],
)
def test_a_recorded_estimator_is_believed_before_the_type_of_the_answers(
    tmp_path: Path, flavor: dict[str, Any], kind: Kind
) -> None:
    assert kind_of(described(tmp_path, [{"type": "double"}], library=flavor)).kind is kind


def test_what_mlflow_writes_is_understood(tmp_path: Path) -> None:
    save_tensor_regressor(tmp_path / "regressor")
    save_two_questions(tmp_path / "questions")
    save_pyfunc(tmp_path / "pyfunc")
    assert kind_of(tmp_path / "regressor").kind is Kind.REGRESSION
    assert kind_of(tmp_path / "questions").kind is Kind.NONE
    assert kind_of(tmp_path / "pyfunc").kind is Kind.NONE


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError):
        kind_of(tmp_path)
    (tmp_path / "MLmodel").write_text('signature: {outputs: "["}\n')
    with pytest.raises(UnsupportedModelError):
        kind_of(tmp_path)
