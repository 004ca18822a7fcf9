"""A family of small models, of every kind of column, label, answer and flavour; each is saved as MLflow saves it."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tests.support.small_models import REQUIREMENTS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of type hints: its own, and where there are none
    import mlflow.onnx
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.type_hints import TypeFromExample

    class Answering(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        """Tells what it was given, value by value and type by type, in a form of answer."""

        def __init__(self, shape: str) -> None:
            self.shape = shape

        def predict(self, context, model_input: TypeFromExample, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
            """Answer each row from its own values. MLflow reads type hints as a signature: this one leaves it be."""
            return SHAPES[self.shape](model_input)


TRAINING_ROWS = 60


@dataclass(frozen=True)
class Spec:
    """One model of the family, and the rows that it is asked."""

    columns: Sequence[tuple[str, str, bool]]  # name, type, required
    maker: str
    detail: str  # of answers or labels
    rows: Sequence[Mapping[str, Any]]


def _texts(table: pd.DataFrame) -> list[str]:
    """Each row as text that tells types: a column of another type, or another kind of missing, is another answer.

    pandas has two types of text, which behave alike; which one it is depends on the file's format.
    """
    types = {
        name: "text" if str(table[name].dtype) in {"object", "str"} else str(table[name].dtype) for name in table
    }
    return [" ".join(f"{name}={types[name]}:{table[name].iloc[n]!r}" for name in table) for n in range(len(table))]


def _numbers(table: pd.DataFrame) -> "np.ndarray[Any, Any]":
    return np.array([float(len(text)) / 3 for text in _texts(table)])


SHAPES: Mapping[str, Callable[[pd.DataFrame], Any]] = {
    "list of texts": _texts,
    "array of texts": lambda t: np.array(_texts(t)),
    "array of objects": lambda t: np.array(_texts(t), dtype=object),
    "series": lambda t: pd.Series(_texts(t)),
    "named series": lambda t: pd.Series(_numbers(t), name="said"),
    "table": lambda t: pd.DataFrame({"text": _texts(t), "number": _numbers(t), "yes": _numbers(t) > 9}),
    "list of numpy scalars": lambda t: list(_numbers(t)),
    "list of float32": lambda t: [np.float32(n) for n in _numbers(t)],
    "dict of arrays": lambda t: {"number": _numbers(t), "text": np.array(_texts(t))},
    "dict of lists": lambda t: {
        "number": [np.int64(n) for n in _numbers(t)],
        "pair": [[n, "x"] for n in _numbers(t)],
    },
    "list of dicts": lambda t: [{"n": np.float64(n), "in": {"deep": [np.int32(n)]}} for n in _numbers(t)],
    "dicts of other keys": lambda t: [{str(int(n) % 3): n} for n in _numbers(t)],
    "lists of other lengths": lambda t: [[int(n)] * (int(n) % 3) for n in _numbers(t)],
    "array of rank 2": lambda t: np.column_stack([_numbers(t), _numbers(t) * 2]),
    "array of one column": lambda t: _numbers(t).reshape(-1, 1),
    "array of rank 3": lambda t: np.stack([np.outer([n, 1], [2, n]) for n in _numbers(t)]),
    "list of arrays": lambda t: [np.array([n, n]) for n in _numbers(t)],
    "nulls among texts": lambda t: [None if int(n) % 2 else "odd" for n in _numbers(t)],
    "whole floats": lambda t: [float(int(n)) for n in _numbers(t)],
    "whole and broken": lambda t: [int(n) if int(n) % 2 else n for n in _numbers(t)],
    "booleans": lambda t: _numbers(t) > 9,
    "times": lambda t: [pd.Timestamp(2024, 1, 1 + int(n) % 20) for n in _numbers(t)],
    "bytes": lambda t: [text.encode() for text in _texts(t)],
}
LABELS: Mapping[str, Sequence[Any]] = {
    "texts": ["leave", "stay", "maybe"],
    "numbers as texts": ["1", "2", "10"],
    "whole": [0, 1, 7],
    "booleans": [False, True],
    "whole floats": [0.0, 1.0, 2.0],
}
ESTIMATORS: Mapping[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=200),
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "neighbours": lambda: KNeighborsClassifier(3),
    "linear": LinearRegression,
    "tree of numbers": lambda: DecisionTreeRegressor(random_state=0),
    "two questions": lambda: MultiOutputClassifier(LogisticRegression(max_iter=200)),
}
REGRESSORS = {"linear", "tree of numbers"}


class AsText(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Makes texts of a table: 2 and 2.0 become two different ones."""

    def fit(self, table: Any, labels: Any = None) -> "AsText":
        """Learn nothing."""
        self.fitted_ = True
        return self

    def transform(self, table: Any) -> Any:
        """All as text."""
        return table.astype(str)


VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-3, 3) | st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-3, 3) | st.integers(-(2**53), 2**53),
    "float": st.floats(-4, 4, width=32),
    "double": st.floats(-4, 4) | st.floats(-1e6, 1e6),
    "string": st.sampled_from(["a", "b", "Köln", "1", "", "None", "nan"]) | st.text("abc 東", max_size=3),
    "datetime": st.datetimes(pd.Timestamp(1990, 1, 1), pd.Timestamp(2100, 1, 1)).map(lambda when: when.isoformat()),
}


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Any model of the family."""
    maker = draw(st.sampled_from(["pyfunc", "pyfunc", "sklearn", "sklearn", "onnx flavour", "tensor"]))
    if maker in {"onnx flavour", "tensor"}:
        detail = draw(st.sampled_from(["float32", "float64"])) if maker == "tensor" else "float32"
        columns = [
            (str(n), "float" if detail == "float32" else "double", True) for n in range(draw(st.integers(1, 4)))
        ]
    else:
        detail = (
            draw(st.sampled_from(sorted(SHAPES)))
            if maker == "pyfunc"
            else f"{draw(st.sampled_from(sorted(ESTIMATORS)))}/{draw(st.sampled_from(sorted(LABELS)))}"
        )
        kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
        columns = [(f"c{n}", kind, draw(st.booleans())) for n, kind in enumerate(kinds)]
    row = st.fixed_dictionaries({n: VALUES[k] if required else st.none() | VALUES[k] for n, k, required in columns})
    return Spec(tuple(columns), maker, detail, draw(st.lists(row, min_size=1, max_size=6)))


def save(spec: Spec, directory: Path) -> None:
    """Save the model. It is made anew, and alike each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        {"pyfunc": _pyfunc, "sklearn": _sklearn, "onnx flavour": _onnx, "tensor": _tensor}[spec.maker](
            spec, directory
        )


def _signature(spec: Spec) -> ModelSignature:
    return ModelSignature(Schema([ColSpec(DataType[kind], name, required=req) for name, kind, req in spec.columns]))


def _pyfunc(spec: Spec, directory: Path) -> None:
    model = Answering(spec.detail)
    mlflow.pyfunc.save_model(
        str(directory), python_model=model, signature=_signature(spec), pip_requirements=REQUIREMENTS
    )


def table_of(columns: Sequence[tuple[str, str, bool]], count: int, seed: int) -> pd.DataFrame:
    """Rows of any types, without missing values."""
    random = np.random.default_rng(seed)
    made = {
        "boolean": lambda: random.random(count) > 0.5,
        "integer": lambda: random.integers(-3, 4, count).astype(np.int32),
        "long": lambda: random.integers(-3, 4, count),
        "float": lambda: random.normal(size=count).astype(np.float32),
        "double": lambda: random.normal(size=count),
        "string": lambda: random.choice(["a", "b", "Köln"], count),
        "datetime": lambda: pd.Timestamp(2024, 1, 1) + pd.to_timedelta(random.integers(0, 400, count), "D"),
    }
    return pd.DataFrame({name: made[kind]() for name, kind, _ in columns})


def fitted(spec: Spec, seed: int = 3) -> Pipeline:
    """A pipeline of scikit-learn; another seed gives another model for the same columns and labels."""
    name, labels = spec.detail.split("/")
    random = np.random.default_rng(seed)
    if name in REGRESSORS:
        target: Any = random.normal(size=TRAINING_ROWS)
    elif name == "two questions":
        target = random.integers(0, 2, (TRAINING_ROWS, 2))
    else:
        target = np.array(LABELS[labels])[random.integers(0, len(LABELS[labels]), TRAINING_ROWS)]
    model = Pipeline(
        [("text", AsText()), ("code", OneHotEncoder(handle_unknown="ignore")), ("answer", ESTIMATORS[name]())]
    )
    return model.fit(table_of(spec.columns, TRAINING_ROWS, len(spec.columns)), target)


def save_pipeline(spec: Spec, model: Pipeline, directory: Path, answer: str = "predict") -> None:
    """Save it; ``answer`` names the method whose answers MLflow's server gives."""
    mlflow.sklearn.save_model(
        model,
        str(directory),
        signature=_signature(spec),
        serialization_format="cloudpickle",
        pip_requirements=REQUIREMENTS,
        pyfunc_predict_fn=answer,
    )


def _sklearn(spec: Spec, directory: Path) -> None:
    save_pipeline(spec, fitted(spec), directory)


def _numeric(spec: Spec, estimator: Any) -> tuple[Any, ModelSignature]:
    kind = np.dtype(spec.detail)
    table = np.random.default_rng(4).normal(size=(TRAINING_ROWS, len(spec.columns))).astype(kind)
    estimator.fit(table, (table.sum(axis=1) > 0).astype(int))
    return table, ModelSignature(Schema([TensorSpec(kind, (-1, len(spec.columns)))]))


def _tensor(spec: Spec, directory: Path) -> None:
    model = LogisticRegression()
    _, signature = _numeric(spec, model)
    mlflow.sklearn.save_model(
        model,
        str(directory),
        signature=signature,
        serialization_format="cloudpickle",
        pip_requirements=REQUIREMENTS,
    )


def _onnx(spec: Spec, directory: Path) -> None:
    from skl2onnx import to_onnx

    model = LogisticRegression()
    table, signature = _numeric(spec, model)
    mlflow.onnx.save_model(
        to_onnx(model, table[:1]), str(directory), signature=signature, pip_requirements=REQUIREMENTS
    )
