"""Small real models, fitted in a moment and saved as MLflow saves them."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ml import onnx_twin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of type hints: its own, and where there are none
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.type_hints import TypeFromExample

    class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        """Answers a table with two columns, and NaN to a negative number."""

        def predict(self, context, model_input: TypeFromExample, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
            """Double, or take the square root. MLflow reads type hints as a signature: this one leaves it be."""
            factor = (params or {}).get("factor", 2.0)
            number = model_input["number"]
            with np.errstate(invalid="ignore"):
                return pd.DataFrame({"double": number * factor, "root": np.sqrt(number)})

    class Quitter(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        """Answers with the number itself, and ends the program at a negative one."""

        def predict(self, context, model_input: TypeFromExample, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
            """Repeat, or exit."""
            if (model_input["number"] < 0).any():
                sys.exit("a negative number")
            return model_input["number"]


CITIES = ("Bonn", "Köln", "東京")
PLANS = ("basic", "plus")
LABELS = ("leave", "maybe", "stay")

# Named, so that MLflow does not load each model in a subprocess to find out.
REQUIREMENTS = ["scikit-learn"]

TYPES = {
    "age": DataType.long,
    "income": DataType.double,
    "balance": DataType.double,
    "city": DataType.string,
    "plan": DataType.string,
}


def rows(count: int, seed: int = 7) -> pd.DataFrame:
    """Made-up customers; income is sometimes missing."""
    random = np.random.default_rng(seed)
    income = random.normal(3000.0, 900.0, count)
    income[:: max(2, count // 10)] = np.nan
    return pd.DataFrame(
        {
            "age": random.integers(18, 90, count),
            "income": income,
            "balance": random.normal(0.0, 50.0, count),
            "city": random.choice(CITIES, count),
            "plan": random.choice(PLANS, count),
        }
    )


def save_classifier(directory: Path, *, twin: bool = True, unseen: str = "ignore") -> Any:
    """Save a three-class pipeline with missing values, scaling and one-hot columns; returns the estimator.

    ``unseen``: what it does with a text that it has not seen, ``ignore`` or ``error``.
    """
    features = rows(400)
    score = features["age"] / 30 + features["balance"] / 50 + (features["plan"] == "plus")
    labels = np.array(LABELS)[np.digitize(score, [1.5, 2.5])]
    numbers = Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler())])
    prepare = ColumnTransformer(
        [
            ("numbers", numbers, ["income", "balance"]),
            ("counts", StandardScaler(), ["age"]),
            ("texts", OneHotEncoder(handle_unknown=unseen, sparse_output=False), ["city", "plan"]),
        ]
    )
    model = Pipeline([("prepare", prepare), ("classify", LogisticRegression(max_iter=500))])
    model.fit(features, labels)
    inputs = Schema([ColSpec(kind, name, required=name != "income") for name, kind in TYPES.items()])
    signature = mlflow.models.ModelSignature(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            str(directory),
            signature=signature,
            input_example=features.iloc[:3],
            serialization_format="skops",
            skops_trusted_types=["numpy.dtype"],
            pip_requirements=REQUIREMENTS,
        )
    if twin:
        assert onnx_twin.add(model, rows(200, seed=8), directory) is None
    return model


def save_tensor_regressor(directory: Path) -> Any:
    """Save a linear regression over a nameless [N, 3] array."""
    features = np.random.default_rng(1).normal(size=(60, 3))
    model = LinearRegression().fit(features, features @ np.array([1.0, -2.0, 0.5]) + 3)
    return _save(model, features, directory)


def save_two_questions(directory: Path) -> Any:
    """Save a classifier that answers two questions at once, of two and of three classes."""
    features = rows(60)[["balance"]]
    answers = np.column_stack([features["balance"] > 0, np.digitize(features["balance"], [-20, 20])]).astype(int)
    return _save(MultiOutputClassifier(LogisticRegression()).fit(features, answers), features, directory)


def _save(model: Any, features: Any, directory: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            str(directory),
            signature=infer_signature(features, model.predict(features)),
            input_example=features[:2],
            serialization_format="skops",
            pip_requirements=REQUIREMENTS,
        )
    return model


def save_pyfunc(directory: Path) -> None:
    """Save a model of no flavor but MLflow's generic one, with a param."""
    _save_generic(Doubler(), directory, {"factor": 2.0})


def save_quitter(directory: Path) -> None:
    """Save a model that calls exit."""
    _save_generic(Quitter(), directory)


def _save_generic(model: Any, directory: Path, params: dict[str, Any] | None = None) -> None:
    example = pd.DataFrame({"number": [1.0, 4.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            str(directory),
            python_model=model,
            signature=infer_signature(example, params=params),
            input_example=example,
            pip_requirements=REQUIREMENTS,
        )
