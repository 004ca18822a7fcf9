"""JSON as RFC 8259 has it, for bytes that a stranger may have written."""

import json
from typing import Any, TypeVar

_Value = TypeVar("_Value")


class NotStrictJsonError(ValueError):
    """The bytes are no single JSON object that reads the same for everybody; the text says why."""


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse one JSON object. NotStrictJsonError: no UTF-8, no object, keys twice, NaN, too deep, too long."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise NotStrictJsonError(f"the body is not UTF-8: byte {error.start}") from error
    except RecursionError as error:
        raise NotStrictJsonError("the body is nested too deeply") from error
    except NotStrictJsonError:
        raise
    except ValueError as error:  # JSONDecodeError, and int() on thousands of digits
        raise NotStrictJsonError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise NotStrictJsonError(f"the body is a JSON {_name(value)}, not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotStrictJsonError(f"the key {twice[:64]!a} appears twice in one object")
    return result


def _no_constant(name: str) -> None:
    raise NotStrictJsonError(f"{name} is not JSON")


def _name(value: object) -> str:
    if value is None:
        return "null"
    return {list: "array", str: "string", bool: "boolean"}.get(type(value), "number")


def field(payload: dict[str, Any], key: str, kind: type[_Value]) -> _Value:
    """The value of a key, of the type that it has to have. NotStrictJsonError: missing, or of another type."""
    value = payload.get(key)
    if not isinstance(value, kind):
        raise NotStrictJsonError(f"{key} should be a {kind.__name__}")
    return value
