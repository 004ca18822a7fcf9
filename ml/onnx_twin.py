"""The model's ONNX twin: it answers a row in a fraction of the time and runs no pickled code.

The twin is stored inside the model's directory, so it is registered, digested and served with it. It is only kept
if it agrees with the model.
"""

import contextlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml.evaluation.twin_probes import probes
from ml.training.twin_conversion import to_onnx
from serving.model.runtimes.onnx import CLASSES_KEY

PATH = Path("onnx") / "model.onnx"

# Largest difference of a probability that 32-bit arithmetic explains.
TOLERANCE = 1e-5

# On fewer rows, agreement says little.
FEWEST_ROWS = 50

SHOWN_COLUMNS = 8  # of a row

UNSEEN = "a category that no training row had"


def add(model: Any, rows: pd.DataFrame, directory: Path) -> str | None:
    """Write the twin of a fitted classifier into the model directory: of scikit-learn, XGBoost or LightGBM.

    The latter two may stand alone or be a pipeline's last step; onnxmltools has to be installed for them.

    The twin has one ``[N, 1]`` input per column of ``rows``, under the column's name, and two outputs: labels, and
    one probability per class.

    They must agree on all ``rows``, on missing values and unseen texts, and on both sides of every step of the model
    that is found between those rows: give all training or evaluation rows.

    Returns:
        None if it was written; otherwise why not: it can't be converted, there are too few rows, or the two disagree,
        and on which rows.
    """
    if len(rows) < FEWEST_ROWS:
        return f"no ONNX twin: {len(rows)} rows are too few to compare it on: give all training or evaluation rows"
    try:
        steps = probes(model.predict_proba, rows, TOLERANCE)
        samples = (rows, _edge_cases(rows), steps)
        content, differences = _converted(model, samples, wide=False)
        if max(differences) > TOLERANCE:
            # Steps between numbers of 64 bits need inputs of 64 bits, which only some converters support.
            with contextlib.suppress(Exception):
                content, differences = _converted(model, samples, wide=True)
    except Exception as error:  # noqa: BLE001 - the converter and the runtime raise anything; none of it is fatal
        return f"no ONNX twin: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if max(differences) > TOLERANCE:
        return f"no ONNX twin: {_disagreement(pd.concat(samples, ignore_index=True), differences, len(steps))}"
    (directory / PATH).parent.mkdir(parents=True, exist_ok=True)
    (directory / PATH).write_bytes(content)
    return None


def _disagreement(rows: pd.DataFrame, differences: Sequence[float], beside: int) -> str:
    """On which rows; the last ``beside`` lie beside steps of the model."""
    off = np.asarray(differences) > TOLERANCE
    worst = int(np.argmax(differences))
    size = "has another label" if np.isinf(differences[worst]) else f"differs by {differences[worst]:.2g}"
    shown = ", ".join(f"{name}={value}" for name, value in rows.iloc[worst].head(SHOWN_COLUMNS).to_dict().items())
    more = " ..." if rows.shape[1] > SHOWN_COLUMNS else ""
    return (
        f"it answers {off.sum():,} of {len(off):,} rows otherwise than the model, "
        f"{off[len(off) - beside :].sum():,} of them a hair beside one of its steps: it {size} at {shown}{more}"
    )


def _converted(model: Any, samples: Sequence[pd.DataFrame], *, wide: bool) -> tuple[bytes, Sequence[float]]:
    """The twin, and how much it differs on each row of the samples. ``wide``: its floats have 64 bits."""
    import onnxruntime

    twin = to_onnx(model, samples[0], partial(_tensor_type, wide=wide))
    twin.metadata_props.add(key=CLASSES_KEY, value=json.dumps(np.asarray(model.classes_).tolist()))
    content = twin.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = [_differences(model, session, sample, wide=wide) for sample in samples if len(sample)]
    return content, np.concatenate(found).tolist()


def _tensor_type(values: pd.Series, *, wide: bool) -> Any:
    from skl2onnx.common import data_types as onnx

    floats = onnx.DoubleTensorType if wide else onnx.FloatTensorType
    by_kind = {"i": onnx.Int64TensorType, "f": floats, "b": onnx.BooleanTensorType}
    return by_kind.get(values.dtype.kind, onnx.StringTensorType)([None, 1])


def _differences(model: Any, session: Any, rows: pd.DataFrame, *, wide: bool) -> "np.ndarray[Any, Any]":
    """The largest difference of a probability, per row; infinite where a label differs, or is of another type.

    Where two classes are level within the tolerance, either label is right.
    """
    labels, found = session.run(None, {name: _tensor(rows[name], wide=wide) for name in rows})
    expected = model.predict_proba(rows)
    level = np.diff(np.sort(expected, axis=1)[:, -2:], axis=1).ravel() <= TOLERANCE
    differences: np.ndarray[Any, Any] = np.abs(found - expected).max(axis=1)
    ours, theirs = labels.tolist(), model.predict(rows).tolist()
    for row, (one, other, is_level) in enumerate(zip(ours, theirs, level, strict=True)):
        if type(one) is not type(other) or (one != other and not is_level):
            differences[row] = np.inf
    return differences


def _tensor(values: pd.Series, *, wide: bool) -> np.ndarray[Any, Any]:
    kinds = {"i": np.int64, "f": np.float64 if wide else np.float32, "b": np.bool_}
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
