"""The ONNX twin under onnxruntime: microseconds per row, and none of the model's code runs."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from serving.errors import Detail, InvalidRequestError, PredictionError, UnsupportedModelError
from serving.model.model_dir import Column, ModelDir
from serving.model.predictions import Array, Predictions

NAME = "onnx"

# The tensor types of skl2onnx and their numpy types.
TENSOR_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
# The column types that a tensor of each kind represents exactly.
CARRIES = {
    "f": {"float", "double", "integer", "long"},
    "i": {"integer", "long"},
    "b": {"boolean"},
    "O": {"string"},
}
LABEL_RANK = 1
# In the twin's metadata: the original's classes as JSON, in the order of the probabilities.
CLASSES_KEY = "pinrail.classes"
# Leaves room in 32 bits for scaling and weights.
LARGEST_INPUT = 1e30


class OnnxRuntime:
    """A session over the twin, with one ``[N, 1]`` tensor per column or one ``[N, columns]`` for all."""

    name = NAME
    rows_are_independent = True

    def __init__(self, model: ModelDir) -> None:
        """UnsupportedModelError: there is no twin, or it cannot represent the original's inputs."""
        if model.onnx is None:
            raise UnsupportedModelError("the model has no ONNX twin")
        try:
            self._session = onnxruntime.InferenceSession(
                str(model.onnx), _options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no base class
            raise UnsupportedModelError(f"onnxruntime can't load {model.onnx.name}: {error}") from error
        inputs = {tensor.name: TENSOR_TYPES.get(tensor.type) for tensor in self._session.get_inputs()}
        self._single = len(inputs) == 1 and len(model.columns) > 1
        self._names = list(inputs) if self._single else [column.name for column in model.columns]
        if set(self._names) != set(inputs) or len(self._names) != len(inputs):
            raise UnsupportedModelError("the twin's inputs do not match the signature's columns")
        types = [inputs[name] for name in self._names] * (len(model.columns) if self._single else 1)
        for column, numpy_type in zip(model.columns, types, strict=True):
            _require_faithful(column, numpy_type)
        self._columns = model.columns
        self._types: list[Any] = types
        self._outputs = _outputs(self._session.get_outputs())
        self.classes = _classes(self._session.get_modelmeta().custom_metadata_map.get(CLASSES_KEY))

    def run(self, columns: Sequence[Sequence[Any]], params: Mapping[str, Any] | None = None) -> Predictions:  # noqa: ARG002 - a model with params is not served here
        """Answer rows that come as columns.

        PredictionError: onnxruntime fails on them. InvalidRequestError: numbers too large for its arithmetic.
        """
        try:
            answers = self._session.run(self._outputs, self._feed(columns))
        except Exception as error:  # onnxruntime's errors share no base class
            raise PredictionError("onnxruntime could not run the model on these rows") from error
        if answers[-1].dtype.kind == "f" and not np.isfinite(answers[-1]).all():
            self._refuse_too_large(columns)
        labels = answers[0].ravel() if answers[0].ndim > LABEL_RANK and answers[0].shape[1] == 1 else answers[0]
        return Predictions(labels, answers[1] if len(answers) > 1 else None)

    def _refuse_too_large(self, columns: Sequence[Sequence[Any]]) -> None:
        """32 bits overflow where the original's 64 do not. A finite answer is still right."""
        for column, numpy_type, values in zip(self._columns, self._types, columns, strict=True):
            if np.dtype(numpy_type).kind == "f" and any(abs(value or 0) > LARGEST_INPUT for value in values):
                message = (
                    f"is out of range for this model: use values between {-LARGEST_INPUT:g} and {LARGEST_INPUT:g}"
                )
                raise InvalidRequestError([Detail(("body", column.name), message, "out_of_range")])

    def _feed(self, columns: Sequence[Sequence[Any]]) -> dict[str, Array]:
        with np.errstate(over="ignore"):  # values too large for 32 bits become infinite; the answer is checked
            if self._single:
                return {self._names[0]: np.array(columns, dtype=self._types[0]).T}
            feed = {}
            for name, numpy_type, values in zip(self._names, self._types, columns, strict=True):
                array = np.array(values, dtype=numpy_type)
                array.shape = (len(values), 1)
                feed[name] = array
            return feed


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    # A row takes less time than a thread switch; throughput comes from batches and processes. A pin that asks for
    # several processors gets as many, for large models.
    threads = os.environ.get("ORT_NUM_THREADS", "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() and int(threads) else 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors, which are also raised
    return options


def _require_faithful(column: Column, numpy_type: Any) -> None:
    kind = np.dtype(numpy_type).kind if numpy_type is not None else ""
    if column.type not in CARRIES.get(kind, ()):
        raise UnsupportedModelError(f"the twin's input {column.name!r} can't carry a {column.type}")
    if not column.required and kind != "f":
        raise UnsupportedModelError(f"the twin's input {column.name!r} can't be missing, as the signature allows")


def _outputs(outputs: Sequence[Any]) -> list[str]:
    """The names of the outputs that are the labels and, where there are any, the probabilities."""
    if len(outputs) > 1 and not outputs[1].type.startswith("tensor("):
        raise UnsupportedModelError("the twin's probabilities are dictionaries: convert it with zipmap off")
    return [output.name for output in outputs[:2]]


def _classes(recorded: str | None) -> tuple[Any, ...] | None:
    try:
        found = json.loads(recorded or "null")
    except (ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"the twin's classes can't be read: {error}") from error
    return tuple(found) if isinstance(found, list) else None
