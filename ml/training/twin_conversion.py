"""Converting a fitted classifier to ONNX: skl2onnx does it, for XGBoost's and LightGBM's with onnxmltools' help.

onnxmltools is used where it is installed, beside the library whose model it converts; Pinrail itself needs neither.
"""

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pandas as pd

from ml.errors import MlError

# From a library to its classifier, what skl2onnx calls that, and where onnxmltools converts it.
BOOSTED = {
    "xgboost": ("XGBClassifier", "XGBoostXGBClassifier", "xgboost.operator_converters.XGBoost", "convert_xgboost"),
    "lightgbm": (
        "LGBMClassifier",
        "LightGbmLGBMClassifier",
        "lightgbm.operator_converters.LightGbm",
        "convert_lightgbm",
    ),
}
OPTIONS = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
OPSET = {"": 18, "ai.onnx.ml": 3}  # for which onnxmltools writes


def to_onnx(model: Any, rows: pd.DataFrame, tensor_type: Callable[[pd.Series], Any]) -> Any:
    """The model in ONNX, with an input per column of ``rows``. Raises whatever the converters raise."""
    import skl2onnx

    types = [(name, tensor_type(rows[name])) for name in rows]
    opset = OPSET if _register_boosted(_last(model)) else None
    return skl2onnx.to_onnx(
        _with_columns(model, rows), initial_types=types, options={"zipmap": False}, target_opset=opset
    )


def _last(model: Any) -> Any:
    return model.steps[-1][1] if hasattr(model, "steps") else model


def _register_boosted(estimator: Any) -> bool:
    """Teach skl2onnx this estimator, if it is one of the boosted; whether it is."""
    library = type(estimator).__module__.partition(".")[0]
    if library not in BOOSTED:
        return False
    kind, alias, module, function = BOOSTED[library]
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    try:
        converter = getattr(import_module(f"onnxmltools.convert.{module}"), function)
    except ModuleNotFoundError as error:
        raise MlError(f"onnxmltools, which converts models of {library}, cannot be imported ({error})") from error
    classifier = getattr(import_module(library), kind)
    update_registered_converter(
        classifier, alias, calculate_linear_classifier_output_shapes, converter, options=OPTIONS
    )
    return True


def _with_columns(model: Any, rows: pd.DataFrame) -> Any:
    """The same model as a pipeline that begins with columns by their names, which a bare estimator does not."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    *steps, (name, last) = model.steps if hasattr(model, "steps") else [("model", model)]
    if type(last).__module__.startswith("xgboost."):
        last = copy.deepcopy(last)
        last.get_booster().feature_names = None  # the converter reads numbers only
    if not steps:
        steps = [("columns", ColumnTransformer([("all", "passthrough", list(rows))]).fit(rows))]
    return Pipeline([*steps, (name, last)])
