"""An ONNX twin is kept only if it gives the original's answers, a hair before and behind each of its steps too."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from ml import onnx_twin
from ml.evaluation import twin_probes

KEEP = ColumnTransformer([("all", "passthrough", ["a", "b"])])


def rows(count: int, **types: str) -> pd.DataFrame:
    random = np.random.default_rng(5)
    return pd.DataFrame({name: (random.normal(size=count) * 1000).astype(kind) for name, kind in types.items()})


def labels(table: pd.DataFrame) -> Any:
    return (table.sum(axis=1) > table.sum(axis=1).median()).astype(int)


def test_the_probes_lie_on_both_sides_of_a_threshold() -> None:
    table = rows(100, a="float64")
    tree = DecisionTreeClassifier(max_depth=1).fit(table, labels(table))
    edge = tree.tree_.threshold[0]
    found = twin_probes.probes(tree.predict_proba, table, 1e-5)["a"]
    assert 0 <= edge - found[found <= edge].max() <= abs(edge) * 1e-6
    assert 0 < found[found > edge].min() - edge <= abs(edge) * 1e-6
    assert tree.predict(found.to_frame()).min() != tree.predict(found.to_frame()).max()


def test_a_smooth_model_has_no_steps() -> None:
    table = rows(100, a="float64", b="float32", c="int64")
    model = LogisticRegression().fit(table / 1000, labels(table))
    assert len(twin_probes.probes(model.predict_proba, table / 1000, 1e-5)) == 0


@pytest.mark.parametrize(
    "model",
    [
        Pipeline([("keep", KEEP), ("tree", DecisionTreeClassifier(max_depth=4, random_state=0))]),
        Pipeline([("keep", KEEP), ("forest", RandomForestClassifier(5, random_state=0))]),
        Pipeline([("keep", KEEP), ("boost", HistGradientBoostingClassifier(max_iter=5, random_state=0))]),
        Pipeline([("scale", StandardScaler()), ("tree", DecisionTreeClassifier(max_depth=4, random_state=0))]),
    ],
    ids=lambda model: " ".join(name for name, _ in model.steps),
)
def test_a_twin_that_is_kept_answers_like_the_original_at_its_thresholds(tmp_path: Path, model: Any) -> None:
    table = rows(300, a="float64", b="float64")
    model.fit(table, labels(table))
    why = onnx_twin.add(model, table, tmp_path)
    if why is not None:
        assert why.startswith("no ONNX twin")  # the converter does not support all of them
        return
    session = onnxruntime.InferenceSession(tmp_path / onnx_twin.PATH, providers=["CPUExecutionProvider"])
    wide = session.get_inputs()[0].type == "tensor(double)"
    hairs = twin_probes.probes(model.predict_proba, rows(400, a="float64", b="float64") * 1.01, 1e-5)
    assert onnx_twin._differences(model, session, hairs, wide=wide).max() <= onnx_twin.TOLERANCE


def test_a_scaled_tree_on_floats_of_64_bits_gets_no_twin_of_32(tmp_path: Path) -> None:
    table = rows(300, a="float64", b="float64")
    model = Pipeline([("scale", StandardScaler()), ("tree", DecisionTreeClassifier(random_state=0))])
    model.fit(table, labels(table))
    samples = (table, twin_probes.probes(model.predict_proba, table, 1e-5))
    assert max(onnx_twin._converted(model, samples, wide=False)[1]) > onnx_twin.TOLERANCE


def test_a_refused_twin_says_on_which_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(300, a="float64", b="float64")
    model = Pipeline([("scale", StandardScaler()), ("tree", DecisionTreeClassifier(random_state=0))])
    model.fit(table, labels(table))
    real = onnx_twin._converted

    def narrow(model: Any, samples: Any, *, wide: bool) -> Any:
        if wide:
            raise ValueError("no converter")
        return real(model, samples, wide=False)

    monkeypatch.setattr(onnx_twin, "_converted", narrow)
    why = onnx_twin.add(model, table, tmp_path) or ""
    said = re.fullmatch(
        r"no ONNX twin: it answers ([\d,]+) of [\d,]+ rows otherwise than the model, ([\d,]+) of them a hair beside "
        r"one of its steps: it has another label at a=(\S+), b=(\S+)",
        why,
    )
    assert said is not None, why
    assert said[1] == said[2] != "0"
    assert not (tmp_path / onnx_twin.PATH).exists()


def test_a_classifier_that_stands_alone_has_a_twin_by_column_names(tmp_path: Path) -> None:
    table = rows(100, a="float64", b="int64") / 1000
    model = LogisticRegression().fit(table, labels(table))
    assert onnx_twin.add(model, table, tmp_path) is None
    session = onnxruntime.InferenceSession(tmp_path / onnx_twin.PATH, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["a", "b"]


def test_whole_numbers_beyond_32_bit_floats_are_separated_or_there_is_no_twin(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": 2**40 + np.arange(200)})
    shifted = Pipeline([("scale", StandardScaler().fit(table)), ("tree", DecisionTreeClassifier(max_depth=3))])
    shifted.fit(table, (table["id"] > 2**40 + 100).astype(int))
    assert "no ONNX twin" in (onnx_twin.add(shifted, table, tmp_path) or "")


@pytest.mark.parametrize("kind", [bool, float])
def test_a_twin_whose_labels_are_of_another_type_is_not_kept(tmp_path: Path, kind: type) -> None:
    table = rows(100, a="float64")
    model = LogisticRegression().fit(table, labels(table).astype(kind))
    assert onnx_twin.add(model, table, tmp_path) is not None


def test_few_rows_are_not_enough_to_compare_a_twin_on(tmp_path: Path) -> None:
    table = rows(5, a="float64")
    model = LogisticRegression().fit(table, labels(table))
    assert "5 rows are too few" in (onnx_twin.add(model, table, tmp_path) or "")
    assert not (tmp_path / onnx_twin.PATH).exists()
