"""Reads the metadata of an MLflow model directory as text, without MLflow and without running the model."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from serving.errors import UnsupportedModelError
from serving.model.small_files import INPUT_EXAMPLE, MLMODEL, parse_json, parse_yaml, read_small

T = TypeVar("T")

ONNX_TWIN = Path("onnx") / "model.onnx"

# MLflow's column types that a request can carry as one JSON value.
COLUMN_TYPES = frozenset({"boolean", "integer", "long", "float", "double", "string", "binary", "datetime"})


@dataclass(frozen=True, slots=True)
class Column:
    """One input of the model, or one of its params."""

    name: str
    type: str  # one of COLUMN_TYPES
    required: bool = True


@dataclass(frozen=True, slots=True)
class Param:
    """An optional setting of a request, and its default."""

    name: str
    type: str  # one of COLUMN_TYPES
    default: Any
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class ModelDir:
    """A model directory, as its MLmodel file describes it."""

    path: Path
    columns: Sequence[Column]  # in the signature's order
    params: Sequence[Param]
    flavors: frozenset[str]
    run_id: str | None
    onnx: Path | None  # the twin, if there is one
    predict_fn: str = "predict"  # the method of a scikit-learn model that answers
    loader: str = ""  # the module that MLflow's server loads it with
    tensor: str | None = None  # the numpy type, if the signature is one [N, columns] tensor without names
    named: bool = True  # the signature's columns have names; else they are known by position
    takes_list: bool = False  # its predict has a type hint and takes a list of values, not a table


def malformed_as_unsupported(reader: Callable[[Path], T]) -> Callable[[Path], T]:
    """Report an MLmodel file that MLflow did not write as an unsupported model, not as a bug."""

    @functools.wraps(reader)
    def checked(path: Path) -> T:
        try:
            return reader(path)
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise UnsupportedModelError(f"the MLmodel of {path.name} is malformed: {error!r}") from error

    return checked


@malformed_as_unsupported
def read(path: Path) -> ModelDir:
    """Read a model directory. UnsupportedModelError: not a model, or its requests cannot be checked."""
    raw = _mlmodel(path)
    signature = raw.get("signature")
    if not isinstance(signature, Mapping) or not signature.get("inputs"):
        raise UnsupportedModelError(
            f"the model in {path.name} has no signature, so requests to it can't be checked: "
            f"log it with signature=mlflow.models.infer_signature(inputs, predictions)"
        )
    inputs = parse_json(signature["inputs"])
    tensor = _tensor_type(inputs)
    flavors = raw.get("flavors") or {}
    generic = flavors.get("python_function", {})
    twin = path / ONNX_TWIN
    return ModelDir(
        path=path,
        columns=_columns_of_tensor(inputs[0]) if tensor else _columns(inputs),
        params=tuple(_param(p) for p in parse_json(signature.get("params") or "null") or ()),
        flavors=frozenset(flavors),
        run_id=raw.get("run_id") or None,
        onnx=twin if twin.is_file() else None,
        predict_fn=generic.get("predict_fn", "predict"),
        loader=generic.get("loader_module", ""),
        tensor=tensor,
        named=tensor is None and all("name" in column for column in inputs),
        takes_list=bool(raw.get("is_signature_from_type_hint")),
    )


@malformed_as_unsupported
def describe_outputs(path: Path) -> str:
    """Describe the signature's outputs as callers see them; empty if there are none."""
    return ", ".join(_describe(output) for output in outputs(path))


@malformed_as_unsupported
def outputs(path: Path) -> list[Mapping[str, Any]]:
    """The signature's outputs, as MLflow writes them; empty if there are none."""
    signature = _mlmodel(path).get("signature") or {}
    found: list[Mapping[str, Any]] = parse_json(signature.get("outputs") or "[]")
    return found


@malformed_as_unsupported
def flavors(path: Path) -> Mapping[str, Any]:
    """What each library recorded of the model, by the library's name."""
    found: Mapping[str, Any] = _mlmodel(path).get("flavors") or {}
    return found


@malformed_as_unsupported
def input_example(path: Path) -> list[dict[str, Any]]:
    """The example rows that the model was logged with, as records; empty if it has none.

    A row without a required value, which the signature would refuse, is left out.
    """
    required = [column.name for column in read(path).columns if column.required]
    return [record for record in _examples(path) if all(record.get(name) is not None for name in required)]


def _examples(path: Path) -> list[dict[str, Any]]:
    info = _mlmodel(path).get("saved_input_example_info") or {}
    if info.get("type") not in {"dataframe", "ndarray", "json_object"} or not info.get("artifact_path"):
        return []
    # MLflow writes missing values as NaN, which is not JSON.
    text = read_small(inside(path, info["artifact_path"]), INPUT_EXAMPLE)
    raw = parse_json(text, lambda _: None)
    if info.get("params"):
        raw = raw["inputs"]  # the params lie beside it
    names = [column.name for column in read(path).columns]
    if isinstance(raw, Mapping) and "data" in raw:
        names = [str(name) for name in raw.get("columns") or names]
        return [dict(zip(names, row, strict=True)) for row in raw["data"]]
    rows = raw["inputs"] if isinstance(raw, Mapping) and set(raw) == {"inputs"} else raw
    if isinstance(rows, Mapping):
        return [dict(rows)]
    return [dict(row) if isinstance(row, Mapping) else dict(zip(names, row, strict=True)) for row in rows]


def inside(path: Path, name: str) -> Path:
    """A file inside the model directory: a model must not read other files of this machine."""
    file = (path / name).resolve()
    if not file.is_relative_to(path.resolve()):
        raise UnsupportedModelError(f"the model in {path.name} names a file outside its directory: {name!a}")
    return file


def _mlmodel(path: Path) -> Mapping[str, Any]:
    file = path / "MLmodel"
    try:
        raw = parse_yaml(read_small(file, MLMODEL))
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"its MLmodel cannot be read as a model description: {error}") from error
    if not isinstance(raw, Mapping):
        raise UnsupportedModelError("its MLmodel is not a model description: not a mapping")
    return raw


def _describe(output: Mapping[str, Any]) -> str:
    if output.get("type") == "tensor":
        return f"{output['tensor-spec']['dtype']} {output['tensor-spec']['shape']}"
    return " ".join(str(output[key]) for key in ("name", "type") if key in output)


def _columns(inputs: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    columns = []
    for position, raw in enumerate(inputs):
        name, kind = str(raw.get("name", position)), raw.get("type")
        if kind not in COLUMN_TYPES:
            raise UnsupportedModelError(
                f"input {name!r} of the model is of type {kind}: columns can be {', '.join(sorted(COLUMN_TYPES))}, "
                f"or all of them together one tensor of shape (-1, n)"
            )
        columns.append(Column(name, kind, required=bool(raw.get("required", not raw.get("optional")))))
    if len({column.name for column in columns}) < len(columns):
        raise UnsupportedModelError("two inputs of the model have the same name")
    return tuple(columns)


def _tensor_type(inputs: Sequence[Mapping[str, Any]]) -> str | None:
    if not any(raw.get("type") == "tensor" for raw in inputs):
        return None
    if len(inputs) > 1 or "name" in inputs[0]:
        names = ", ".join(str(raw.get("name", position)) for position, raw in enumerate(inputs))
        raise UnsupportedModelError(
            f"the model takes tensors by name ({names}): only one nameless tensor of numbers, of shape (-1, n), or "
            f"columns are served. Log it with a signature of columns: infer_signature of a DataFrame makes one"
        )
    dtype: str = inputs[0]["tensor-spec"]["dtype"]
    return dtype


def _columns_of_tensor(raw: Mapping[str, Any]) -> tuple[Column, ...]:
    shape, dtype = raw["tensor-spec"]["shape"], raw["tensor-spec"]["dtype"]
    kind = {"b": "boolean", "i": "long", "u": "long", "f": "double"}.get(_kind(dtype))
    if kind is None or len(shape) != 2 or shape[0] != -1 or shape[1] < 1:  # noqa: PLR2004 - rows and columns
        raise UnsupportedModelError(
            f"the model takes a tensor of type {dtype} and shape {tuple(shape)}: "
            f"only numbers of shape (-1, n) are served"
        )
    return tuple(Column(str(position), kind) for position in range(shape[1]))


def _kind(dtype: str) -> str:
    return "b" if dtype == "bool" else dtype[0]


def _param(raw: Mapping[str, Any]) -> Param:
    return Param(raw["name"], raw["type"], raw.get("default"), is_list=bool(raw.get("shape")))
