"""The gate compares a twin with the model itself also where no evaluation row happens to be."""

import warnings
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from ml import onnx_twin
from ml.datasets.evaluation_set import own_file
from ml.evaluation import twin
from ml.evaluation.measure import describe, measure
from ml.evaluation.server_process import Artifacts, serving, usual_limits
from ml.evidence import Verdict
from serving.model.digest import digest_tree
from serving.model.loader import Cache

pytestmark = pytest.mark.long
TREE = DecisionTreeClassifier(max_depth=3, random_state=0)


def judged(estimator: Any, tmp_path: Path) -> list[Verdict]:
    """What the gate says of a version with a twin of 32 bits, whoever wrote it."""
    random = np.random.default_rng(5)
    table = pd.DataFrame({"a": random.normal(size=300) * 1000, "b": random.normal(size=300) * 1000})
    labels = (table.sum(axis=1) > 0).astype(int)
    model = Pipeline([("scale", StandardScaler()), ("answer", estimator)]).fit(table, labels)
    directory = tmp_path / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            str(directory),
            signature=infer_signature(table, labels),
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )
    content, _ = onnx_twin._converted(model, [table], wide=False)
    (directory / onnx_twin.PATH).parent.mkdir()
    (directory / onnx_twin.PATH).write_bytes(content)
    table.assign(y=labels).head(80).to_csv(tmp_path / "rows.csv", index=False)
    digest = digest_tree(directory)
    (tmp_path / "cache").mkdir()
    path = directory.rename(Cache(tmp_path / "cache").path_of(digest))
    artifacts = Artifacts("m", 1, digest, tmp_path / "cache")
    with serving(artifacts) as server:
        subject = measure(server, describe(artifacts, path, own_file(tmp_path / "rows.csv", "y")), costs=False)
        return list(twin.compare(server, artifacts, subject, usual_limits()))


def test_a_twin_that_differs_at_thresholds_alone_is_found(tmp_path: Path) -> None:
    (verdict,) = judged(TREE, tmp_path)
    assert verdict.name == "onnx_twin"
    assert f"{twin.STEPS} are answered otherwise than by the model itself" in verdict.reason


def test_a_smooth_model_has_no_threshold_to_differ_at(tmp_path: Path) -> None:
    assert judged(LogisticRegression(), tmp_path) == []


def test_a_model_that_takes_too_long_to_search_is_compared_on_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twin, "SEARCH_SECONDS", 0.0)
    assert judged(TREE, tmp_path) == []
