"""The runtimes: which one is chosen, and that all of them give the original model's answers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from serving.errors import InvalidRequestError, PredictionError, UnsupportedModelError
from serving.model.predictor import load_predictor
from tests.support import small_models
from tests.support.examples import examples

TOLERANCE = 1e-5  # what the gate grants to 32-bit arithmetic

texts = st.one_of(st.sampled_from([*small_models.CITIES, *small_models.PLANS]), st.text(max_size=8))
amounts = st.floats(-1e6, 1e6, width=32)
records: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "age": st.integers(-10_000, 10_000),
        "income": st.none() | amounts,
        "balance": amounts,
        "city": texts.filter(lambda text: text.isprintable()),
        "plan": texts.filter(lambda text: text.isprintable()),
    }
)


@pytest.fixture(scope="module")
def runtimes(classifier: Path) -> dict[str, Any]:
    return {name: load_predictor(classifier, name) for name in ("onnx", "native", "pyfunc")}


@settings(max_examples=examples(100), deadline=None)
@given(rows=st.lists(records, min_size=1, max_size=12))
@pytest.mark.long
def test_all_runtimes_agree_on_any_rows(runtimes: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    onnx, native, pyfunc = (runtimes[name].predict_records(rows) for name in ("onnx", "native", "pyfunc"))
    assert native.labels.tolist() == pyfunc.labels.tolist()
    np.testing.assert_allclose(onnx.probabilities, native.probabilities, atol=TOLERANCE)
    # Where two classes are level, 32 bits may tip the scale; there is no wrong answer then.
    ranked = np.sort(native.probabilities, axis=1)
    decided = ranked[:, -1] - ranked[:, -2] > TOLERANCE
    assert onnx.labels[decided].tolist() == native.labels[decided].tolist()


@pytest.mark.parametrize("balance", [1e30, -1e37, 1e39, -1e300, 1.7e308])
@pytest.mark.parametrize("income", [0.0, 1e300, -1e300])
def test_numbers_beyond_32_bits_get_the_originals_answer_or_are_refused(
    runtimes: dict[str, Any], balance: float, income: float
) -> None:
    row = {"age": 30, "income": income, "balance": balance, "city": "Bonn", "plan": "plus"}
    native = runtimes["native"].predict_records([row])
    try:
        onnx = runtimes["onnx"].predict_records([row])
    except InvalidRequestError:
        return
    np.testing.assert_allclose(onnx.probabilities, native.probabilities, atol=TOLERANCE)


def test_a_number_too_far_out_for_32_bits_is_refused_by_name(runtimes: dict[str, Any]) -> None:
    row = {"age": 30, "income": 1e300, "balance": -1e300, "city": "Bonn", "plan": "plus"}
    with pytest.raises(InvalidRequestError, match=r"body\.income: is out of range for this model"):
        runtimes["onnx"].predict_records([row])


@settings(max_examples=examples(50), deadline=None)
@given(rows=st.lists(records, min_size=2, max_size=12))
def test_a_row_has_the_same_answer_alone_and_in_company(runtimes: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    together = runtimes["onnx"].predict_records(rows)
    for number, row in enumerate(rows):
        alone = runtimes["onnx"].predict_records([row])
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[number], atol=1e-6)


def test_the_answers_are_the_estimators_own(tmp_path: Path) -> None:
    estimator = small_models.save_classifier(tmp_path / "m")
    features = small_models.rows(50, seed=99)
    asked = features.astype(object).where(features.notna(), None).to_dict("records")
    for runtime in ("onnx", "native"):
        predictions = load_predictor(tmp_path / "m", runtime).predict_records(asked)
        assert predictions.labels.tolist() == estimator.predict(features).tolist()
        assert predictions.probabilities is not None
        np.testing.assert_allclose(predictions.probabilities, estimator.predict_proba(features), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("fixture", "runtime"),
    [
        ("classifier", "onnx"),
        ("without_twin", "native"),
        ("tensor_regressor", "native"),
        ("doubler", "pyfunc"),
    ],
)
def test_the_fastest_faithful_runtime_is_chosen(request: pytest.FixtureRequest, fixture: str, runtime: str) -> None:
    predictor = load_predictor(request.getfixturevalue(fixture))
    assert predictor.runtime.name == runtime
    assert 0 < predictor.seconds_per_row() < 5


def test_a_regressor_without_names_answers_by_position(tensor_regressor: Path) -> None:
    for runtime in ("native", "pyfunc"):
        predictions = load_predictor(tensor_regressor, runtime).predict([[0, 0, 0], [1, 1, 1]])
        assert predictions.labels.tolist() == pytest.approx([3.0, 2.5])
        assert predictions.probabilities is None


def test_a_model_with_several_outputs_answers_them_by_name(doubler: Path) -> None:
    predictions = load_predictor(doubler).predict_records([{"number": 9.0}])
    assert predictions.labels.tolist() == [{"double": 18.0, "root": 3.0}]


def test_params_reach_the_model(doubler: Path) -> None:
    predictions = load_predictor(doubler).predict([[9.0]], {"factor": 3.0})
    assert predictions.labels.tolist() == [{"double": 27.0, "root": 3.0}]


def test_an_answer_that_is_not_finite_is_an_error_that_names_the_row(doubler: Path) -> None:
    with pytest.raises(PredictionError, match="answer to row 1 is not a finite number"):
        load_predictor(doubler).predict([[4.0], [-1.0]])


@pytest.mark.parametrize("runtime", ["onnx", "native", "pyfunc"])
def test_values_that_are_not_of_the_signatures_types_are_an_error_of_the_prediction(
    runtimes: dict[str, Any], runtime: str
) -> None:
    row = {"age": "old", "income": 1.0, "balance": 1.0, "city": "Bonn", "plan": "plus"}
    with pytest.raises(PredictionError):
        runtimes[runtime].predict_records([row])


def test_a_missing_whole_number_that_mlflows_wrapper_does_not_take_is_refused_by_name(
    without_twin: Path, tmp_path: Path
) -> None:
    lax = _with_signature(without_twin, tmp_path / "lax", '"required": true', '"required": false')
    row = {"age": None, "income": 1.0, "balance": 1.0, "city": "Bonn", "plan": "plus"}
    wrapped = load_predictor(lax, "pyfunc")
    with pytest.raises(InvalidRequestError, match=r"body\.age: a value is required: MLflow's wrapper"):
        wrapped.predict_records([{**row, "age": 3}, row])
    assert len(wrapped.predict_records([{**row, "age": 3, "city": None}]).labels) == 1


def test_a_runtime_that_cannot_serve_the_model_says_why(without_twin: Path, doubler: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="onnx: the model has no ONNX twin"):
        load_predictor(without_twin, "onnx")
    with pytest.raises(UnsupportedModelError, match="native: the model takes params"):
        load_predictor(doubler, "native")


def test_a_twin_that_cannot_carry_what_the_signature_allows_is_not_used(classifier: Path, tmp_path: Path) -> None:
    lax = _with_signature(classifier, tmp_path / "lax", '"required": true', '"required": false')
    assert load_predictor(lax).runtime.name == "native"
    with pytest.raises(UnsupportedModelError, match="'age' can't be missing"):
        load_predictor(lax, "onnx")

    renamed = _with_signature(classifier, tmp_path / "renamed", '"name": "age"', '"name": "years"')
    with pytest.raises(UnsupportedModelError, match="do not match the signature's columns"):
        load_predictor(renamed, "onnx")


def test_a_twin_that_is_damaged_gives_way_to_the_original(classifier: Path, tmp_path: Path) -> None:
    copy = _with_signature(classifier, tmp_path / "copy", "", "")
    (copy / "onnx" / "model.onnx").write_bytes(b"not a graph")
    assert load_predictor(copy).runtime.name == "native"


def test_the_onnx_runtime_imports_neither_pandas_nor_scikit_learn_nor_mlflow(classifier: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from serving.model.predictor import load_predictor;"
        "from serving.app import build_app, Identity;"
        "p = load_predictor(Path(sys.argv[1])); build_app(Identity('m', 1, 'd', 'e', None, None), p);"
        "print(p.runtime.name, sorted({'pandas', 'sklearn', 'mlflow', 'pickle5', 'cloudpickle'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script, str(classifier)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "onnx []\n"


def _with_signature(model: Path, copy: Path, old: str, new: str) -> Path:
    import shutil

    shutil.copytree(model, copy)
    file = copy / "MLmodel"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return copy
