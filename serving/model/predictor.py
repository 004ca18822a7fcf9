"""One loaded model that takes plain Python values; used by the gate and by the server."""

import base64
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from serving.errors import UnsupportedModelError
from serving.model import bytecode, model_dir, rows_alone
from serving.model.model_dir import Column, ModelDir
from serving.model.predictions import Predictions

log = logging.getLogger(__name__)

WARM_UP_RUNS = 3
ORIGINAL = "original"


Params = Mapping[str, Any] | None


class Runtime(Protocol):
    """Runs a model."""

    @property
    def name(self) -> str:
        """Its name in /health."""
        ...

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """A classifier's classes, in the order of its probabilities; None: it names none."""
        ...

    @property
    def rows_are_independent(self) -> bool:
        """Rows of several requests may be batched."""
        ...

    def run(self, columns: Sequence[Sequence[Any]], params: Params = None) -> Predictions:
        """Answer rows that come as columns in the signature's order, ``None`` where a value is missing.

        Only a model whose signature has params gets any.
        """
        ...


class Predictor:
    """A model and its runtime."""

    def __init__(self, model: ModelDir, runtime: Runtime) -> None:
        self.model = model
        self.runtime = runtime

    def predict(self, rows: Sequence[Collection[Any]], params: Params = None) -> Predictions:
        """Answer rows of values in the signature's order, ``None`` where one is missing.

        The values must have the signature's types: ``serving.model.schema`` ensures this for requests.
        PredictionError: the model fails, or an answer is not finite.
        """
        predictions = self.runtime.run(list(zip(*rows, strict=True)), params)
        predictions.check(len(rows))
        return predictions

    def predict_records(self, records: Sequence[Mapping[str, Any]]) -> Predictions:
        """Answer rows that are mappings; an absent column is a missing value."""
        columns = self.model.columns
        return self.predict([[_value(column, record.get(column.name)) for column in columns] for record in records])

    def seconds_per_row(self) -> float:
        """How long one row takes: measured on the model's own example, which also warms the model up.

        Infinite if there is no example. PredictionError: the model can't answer even its own example.
        """
        example = model_dir.input_example(self.model.path)[:1]
        best = math.inf
        for _ in range(WARM_UP_RUNS if example else 0):
            start = time.perf_counter()
            self.predict_records(example)
            best = min(best, time.perf_counter() - start)
        return best


def _value(column: Column, value: Any) -> Any:
    return (
        base64.b64decode(value) if column.type == "binary" and isinstance(value, str) else value
    )  # JSON has no bytes


def load_predictor(path: Path, runtime: str | None = None) -> Predictor:
    """Load the model in a directory with the fastest runtime that gives its answers, or with a named one.

    Args:
        path: an MLflow model directory, such as :meth:`serving.model.loader.Cache.find` returns.
        runtime: ``onnx``, ``native`` or ``pyfunc``; ``original`` for the fastest that does not use the ONNX twin; the
            fastest of all, if None.

    Raises:
        UnsupportedModelError: no runtime, or not the named one, can serve this model; with the reason of each.
    """
    model = model_dir.read(path)
    bytecode.keep_out_of(path)
    reasons = []
    for name, load in _RUNTIMES.items():
        if runtime not in {None, name} and not (runtime == ORIGINAL and name != "onnx"):
            continue
        try:
            predictor = Predictor(model, load(model))
            if not predictor.runtime.rows_are_independent:
                rows_alone.require(predictor.predict_records, model_dir.input_example(path))
        except (UnsupportedModelError, ImportError) as error:
            reasons.append(f"{name}: {error}")
            log.info("not served with %s: %s", name, error)
        else:
            return predictor
    raise UnsupportedModelError(f"no runtime can serve the model in {path.name}: {'; '.join(reasons) or runtime}")


def _onnx(model: ModelDir) -> Runtime:
    _require_no_params(model)
    if model.onnx is None:
        raise UnsupportedModelError("the model has no ONNX twin")
    from serving.model.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(model)


def _native(model: ModelDir) -> Runtime:
    _require_no_params(model)
    from serving.model.runtimes.native import NativeRuntime

    return NativeRuntime(model)


def _pyfunc(model: ModelDir) -> Runtime:
    from serving.model.runtimes.pyfunc import PyfuncRuntime

    return PyfuncRuntime(model)


def _require_no_params(model: ModelDir) -> None:
    if model.params:
        raise UnsupportedModelError("the model takes params")


# In order of preference.
_RUNTIMES: Mapping[str, Callable[[ModelDir], Runtime]] = {"onnx": _onnx, "native": _native, "pyfunc": _pyfunc}
