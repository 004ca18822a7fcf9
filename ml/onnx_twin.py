"""The model's ONNX twin: it answers a row in a fraction of the time and runs no pickled code.

The twin is stored inside the model's directory, so it is registered, digested and served with it. It is only kept
if it agrees with scikit-learn.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PATH = Path("onnx") / "model.onnx"

# Largest difference of a probability that 32-bit arithmetic explains.
TOLERANCE = 1e-5

UNSEEN = "a category that no training row had"


def add(model: Any, rows: pd.DataFrame, directory: Path) -> str | None:
    """Write the twin of a fitted scikit-learn classifier into the model directory.

    The twin has one ``[N, 1]`` input per column of ``rows``, under the column's name, and two outputs: labels, and
    one probability per class.

    Returns:
        None if it was written; otherwise why not: it can't be converted, or the two disagree on ``rows``.
    """
    import onnxruntime
    from skl2onnx import to_onnx

    types = [(name, _tensor_type(rows[name])) for name in rows]
    try:
        content = to_onnx(model, initial_types=types, options={"zipmap": False}).SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        difference = max(_difference(model, session, sample) for sample in (rows, _edge_cases(rows)))
    except Exception as error:  # noqa: BLE001 - the converter and the runtime raise anything; none of it is fatal
        return f"no ONNX twin: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if difference > TOLERANCE:
        return f"no ONNX twin: it differs from scikit-learn by {difference:.2g}, more than {TOLERANCE:g}"
    (directory / PATH).parent.mkdir(parents=True, exist_ok=True)
    (directory / PATH).write_bytes(content)
    return None


def _tensor_type(values: pd.Series) -> Any:
    from skl2onnx.common.data_types import BooleanTensorType, FloatTensorType, Int64TensorType, StringTensorType

    by_kind = {"i": Int64TensorType, "f": FloatTensorType, "b": BooleanTensorType}
    return by_kind.get(values.dtype.kind, StringTensorType)([None, 1])


def _difference(model: Any, session: Any, rows: pd.DataFrame) -> float:
    """Return the largest difference of a probability; infinite when a decision differs."""
    labels, probabilities = session.run(None, {name: _tensor(rows[name]) for name in rows})
    if not np.array_equal(labels, model.predict(rows)):
        return float("inf")
    return float(np.abs(probabilities - model.predict_proba(rows)).max())


def _tensor(values: pd.Series) -> np.ndarray[Any, Any]:
    kinds = {"i": np.int64, "f": np.float32, "b": np.bool_}
    return np.asarray(values, dtype=kinds.get(values.dtype.kind, object)).reshape(-1, 1)


def _edge_cases(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the first rows with every text unseen, and with every float missing that is missing somewhere."""
    sample = rows.head(20).copy()
    for name in sample:
        if rows[name].dtype.kind not in "ifb":
            sample[name] = UNSEEN
        elif rows[name].isna().any():
            sample[name] = np.nan
    return sample
