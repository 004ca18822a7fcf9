"""Trains and saves the models of test_model_packages.py, in an environment that has their packages: DIRECTORY."""

import importlib.metadata
import json
import sys
import warnings
from pathlib import Path
from typing import Any

PACKAGES = ("xgboost-cpu", "lightgbm", "scikit-learn", "pandas", "numpy")
TWINS = ("onnxmltools", "skl2onnx", "onnxruntime")  # what ml.onnx_twin needs for them
MODELS = ("xgboost", "lightgbm", "twin", "pyfunc", "code")
MODULE = "def double(values):\n    return values * 2\n"
FROM_CODE = """
import lightgbm
import mlflow.pyfunc
from mlflow.models import set_model

class Version(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [lightgbm.__version__ for _ in range(len(model_input))]

set_model(Version())
"""


def main(directory: Path) -> None:
    """Save MODELS there, each with the rows to ask it, and what became of their twins."""
    warnings.simplefilter("ignore")
    import lightgbm
    import mlflow.pyfunc
    import mlflow.sklearn
    import numpy as np
    import pandas as pd
    import xgboost
    from mlflow.models import infer_signature
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(7)
    rows = pd.DataFrame(random.normal(size=(300, 3)), columns=["a", "b", "c"])
    labels = (rows["a"] + rows["b"] ** 2 > 1).astype(int)
    rows.head(40).to_json(directory / "rows.json", orient="records")
    rows.assign(label=labels).to_csv(directory / "evaluation.csv", index=False)
    listed = [f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES]

    def saved(name: str) -> dict[str, Any]:
        return {"path": str(directory / name), "input_example": rows.head(3), "pip_requirements": listed}

    def model_of(name: str) -> Any:
        estimator = {
            "xgboost": xgboost.XGBClassifier(n_estimators=20, max_depth=3),
            "lightgbm": lightgbm.LGBMClassifier(n_estimators=20, verbose=-1),
        }[name]
        return make_pipeline(StandardScaler().set_output(transform="pandas"), estimator).fit(rows, labels)

    for name in ("xgboost", "lightgbm"):
        model = model_of(name)
        signature = infer_signature(rows, model.predict(rows))
        mlflow.sklearn.save_model(model, signature=signature, serialization_format="cloudpickle", **saved(name))

    sys.path.append(str(Path(__file__).parents[2]))
    from ml import onnx_twin

    alone = xgboost.XGBClassifier(n_estimators=20, max_depth=3).fit(rows, labels)
    signature = infer_signature(rows, alone.predict(rows))
    mlflow.sklearn.save_model(alone, signature=signature, serialization_format="cloudpickle", **saved("twin"))
    light = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1)
    whole = (rows * 100).astype("int64")
    said = {
        "xgboost": onnx_twin.add(alone, rows, directory / "twin"),
        "lightgbm": onnx_twin.add(light.fit(rows, labels), rows, directory / "none"),
        "lightgbm on whole numbers": onnx_twin.add(light.fit(whole, labels), whole, directory / "whole"),
        "xgboost behind a scaler": onnx_twin.add(model_of("xgboost"), rows, directory / "none"),
    }
    (directory / "twins.json").write_text(json.dumps(said))

    (directory / "own_code.py").write_text(MODULE)
    sys.path.insert(0, str(directory))
    import own_code

    class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            return own_code.double(model_input["a"].to_numpy())

    signature = infer_signature(rows, np.array([0.5]))
    code = [str(directory / "own_code.py")]
    mlflow.pyfunc.save_model(python_model=Doubler(), code_paths=code, signature=signature, **saved("pyfunc"))
    (directory / "model.py").write_text(FROM_CODE)
    signature = infer_signature(rows, np.array(["text"]))
    mlflow.pyfunc.save_model(python_model=str(directory / "model.py"), signature=signature, **saved("code"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
