"""Trains and saves one model of each shape, in an environment that has their packages: DIRECTORY.

Each is a directory with rows to ask it beside it, ``<name>.rows.json``, as ``dataframe_split``.
"""

import importlib.metadata
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("scikit-learn", "pandas", "numpy", "statsmodels")
OLDER = "older"  # saved by an older MLflow
# Refused, since a request cannot say it: a column of arrays.
REFUSED = "arrays"
FROM_CODE = """
import mlflow.pyfunc
import pandas as pd
from mlflow.models import set_model

class Version(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        {answer}

set_model(Version())
"""
ANSWERS = {
    "frame": "return pd.DataFrame({'low': model_input['a'] - 1, 'high': model_input['a'] + 1})",
    "dict": "return {'sum': (model_input['a'] + model_input['b']).to_numpy(), 'a': model_input['a'].to_numpy()}",
    "params": "return model_input['a'].to_numpy() * (params or {}).get('factor', 1.0)",
    "columns": (
        "return [f\"{when:%Y-%m-%d} {flag} {'no' if pd.isna(n) else int(n)} {'no' if pd.isna(price) else price}\""
        " for when, flag, n, price in zip(*(model_input[name] for name in ('when', 'flag', 'count', 'price')))]"
    ),
    REFUSED: "return [float(sum(values)) for values in model_input['values']]",
}


def models(directory: Path) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Name, model or its source, rows, and what else its MLflow flavour is given."""
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(7)
    rows = pd.DataFrame(random.normal(size=(300, 3)), columns=["a", "b", "c"])
    total = rows["a"] + rows["b"] ** 2
    bins = pd.cut(total, [-99, 0, 1, 99], labels=["low", "middle", "high"]).astype(str)
    yield (
        "forest",
        make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)),
        rows,
        {"y": (total > 1).astype(int)},
    )
    yield "strings", make_pipeline(StandardScaler(), LogisticRegression()), rows, {"y": bins}
    yield "outputs", RandomForestRegressor(5, random_state=0), rows, {"y": rows[["b", "c"]] * 2}
    yield "regression", Ridge(), rows, {"y": total}
    wide = pd.DataFrame(random.normal(size=(60, 500)), columns=[f"column {n}" for n in range(500)])
    yield "wide", Ridge(), wide, {"y": wide.sum(axis=1)}
    columns = pd.DataFrame(
        {
            "when": pd.to_datetime(["2026-01-31T10:00:00", "2026-02-28T11:30:00"]),
            "flag": [True, False],
            "count": [3, 4],
            "price": [1.5, None],
        }
    )
    arrays = pd.DataFrame({"values": [[1.0, 2.0], [3.0, 4.0]]})
    for name, answer in ANSWERS.items():
        source = directory / f"{name}.py"
        source.write_text(FROM_CODE.format(answer=answer))
        yield name, source, {"columns": columns, REFUSED: arrays}.get(name, rows), {}


def main(directory: Path, only: str = "") -> None:
    """Save them all, or OLDER alone."""
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    listed = [f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES]

    def save(name: str, rows: Any, write: Callable[..., None], signature: Any) -> None:
        shown = rows.head(5)
        write(path=str(directory / name), input_example=shown, signature=signature, pip_requirements=listed)
        split = json.loads(shown.to_json(orient="split", date_format="iso"))
        del split["index"]
        (directory / f"{name}.rows.json").write_text(json.dumps(split))

    for name, model, rows, given in models(directory):
        if only and name != "strings":
            continue
        if isinstance(model, Path):
            signature = infer_signature(rows, [0.5] if name != "columns" else ["text"])
            if name == "columns":
                kinds = {"when": "datetime", "flag": "boolean", "count": "long", "price": "double"}
                optional = {"count", "price"}
                inputs = [ColSpec(kind, column, required=column not in optional) for column, kind in kinds.items()]
                signature = ModelSignature(inputs=Schema(inputs), outputs=signature.outputs)
            if name == "params":
                signature.params = ParamSchema([ParamSpec("factor", "double", 1.0)])
            save(
                name,
                rows,
                lambda model=model, **more: mlflow.pyfunc.save_model(python_model=str(model), **more),
                signature,
            )
            continue
        model.fit(rows, given["y"])
        save(
            only or name,
            rows,
            lambda model=model, **more: mlflow.sklearn.save_model(model, serialization_format="cloudpickle", **more),
            infer_signature(rows, model.predict(rows)),
        )
        if name == "forest":
            from ml import onnx_twin

            (directory / "forest.twin.txt").write_text(onnx_twin.add(model, rows, directory / name) or "")
    if not only:
        import mlflow.statsmodels
        import statsmodels.api

        rows = next(rows for name, _, rows, _ in models(directory) if name == "regression")
        fitted = statsmodels.api.OLS(rows["a"] * 2 + rows["b"], rows).fit()
        save(
            "statsmodels",
            rows,
            lambda **more: mlflow.statsmodels.save_model(fitted, **more),
            infer_signature(rows, fitted.predict(rows)),
        )


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))
    main(Path(sys.argv[1]), *sys.argv[2:])
