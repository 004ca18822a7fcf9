"""Tensors of the Open Inference Protocol: as JSON, and as the bytes of its binary extension."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic_core import to_json

from serving.errors import Detail, InvalidRequestError
from serving.model.predictions import Array

# The protocol's types and numpy's; BYTES are strings, each after its length in four bytes.
NUMPY_TYPES: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
BYTES = "BYTES"
LENGTH_BYTES = 4

COLUMN_TYPES: Mapping[str, str] = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
}


NAMES = {np.dtype(code): name for name, code in NUMPY_TYPES.items()}


def written(array: Array) -> dict[str, Any]:
    """An output's shape, datatype and data. What no type of the protocol holds is written as text in JSON."""
    if array.dtype in NAMES or array.dtype.kind == "U":
        name, data = NAMES.get(array.dtype, BYTES), array.ravel().tolist()
    else:
        name, data = BYTES, [e if isinstance(e, str | None) else to_json(e).decode() for e in array.ravel().tolist()]
    return {"shape": list(array.shape), "datatype": name, "data": data}


def flat(data: Any) -> list[Any]:
    """The elements of nested lists, in order."""
    if not isinstance(data, list):
        return [data]
    if not any(isinstance(part, list) for part in data):
        return data
    # One level at a time: how deep it may be is limited by the JSON parser.
    return flat([element for part in data for element in (part if isinstance(part, list) else [part])])


def values(tensor: Mapping[str, Any], blob: bytes | None) -> tuple[list[int], list[Any]]:
    """A tensor's shape and elements, NaN as None. InvalidRequestError: they do not match each other or the type."""
    name = _name(tensor)
    shape, kind = tensor.get("shape"), tensor.get("datatype")
    if not isinstance(shape, list) or not shape or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise invalid(name, "shape must be an array of whole numbers")
    if kind != BYTES and kind not in NUMPY_TYPES:
        raise invalid(name, f"datatype must be one of {', '.join(NUMPY_TYPES)} and {BYTES}")
    elements = _from_bytes(name, str(kind), blob) if blob is not None else flat(tensor.get("data"))
    if len(elements) != math.prod(shape):
        raise invalid(name, f"the shape has {math.prod(shape)} elements, the data {len(elements)}")
    return shape, [None if isinstance(e, float) and math.isnan(e) else e for e in elements]


def blobs(inputs: Sequence[Mapping[str, Any]], binary: bytes) -> list[bytes | None]:
    """The part of the request's binary tail that belongs to each input; None where its data is in the JSON."""
    found: list[bytes | None] = []
    start = 0
    for tensor in inputs:
        parameters = tensor.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            found.append(None)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - start:
            raise invalid(_name(tensor), "binary_data_size exceeds the binary data")
        found.append(binary[start : start + size])
        start += size
    if start != len(binary):
        raise InvalidRequestError([Detail(("body",), "there is more binary data than the inputs declare", "format")])
    return found


def _from_bytes(name: str, kind: str, blob: bytes) -> list[Any]:
    if kind == BYTES:
        return _texts(name, blob)
    numpy_type = np.dtype(NUMPY_TYPES[kind])
    if len(blob) % numpy_type.itemsize:
        raise invalid(name, f"its size is not a multiple of the size of {kind}")
    elements: list[Any] = np.frombuffer(blob, numpy_type).tolist()
    return elements


def _texts(name: str, blob: bytes) -> list[str]:
    texts, start = [], 0
    while start < len(blob):
        end = start + LENGTH_BYTES
        end += int.from_bytes(blob[start:end], "little")
        if end > len(blob):
            raise invalid(name, "its bytes end in the middle of a string")
        try:
            texts.append(blob[start + LENGTH_BYTES : end].decode())
        except UnicodeDecodeError:
            raise invalid(name, "a string is not UTF-8") from None
        start = end
    return texts


def _name(tensor: Mapping[str, Any]) -> str:
    """The input's name if it is harmless; other names are input, which is not repeated in answers."""
    name = tensor.get("name")
    return name if isinstance(name, str) and name.isidentifier() and len(name) <= 64 else "inputs"  # noqa: PLR2004


def invalid(name: str, message: str) -> InvalidRequestError:
    """The error for one input."""
    return InvalidRequestError([Detail(("body", name), message, "tensor")])
