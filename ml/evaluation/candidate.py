"""Find the line that training printed in a log. Pure: text in, candidate out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version to evaluate, as far as it is known: either its number or the run that registered it."""

    model: str | None
    version: int | None
    run_id: str | None


def find_candidate(log: str) -> Candidate | None:
    """Return the candidate of the last training line in ``log``, or None when there is none.

    A training line holds a JSON object with a ``run_id``, with or without a log prefix before it and a remark after
    it; ``model_version`` may be a number or text, ``model`` may be missing.
    """
    for line in reversed(log.splitlines()):
        for found in _objects(line):
            candidate = _candidate(found)
            if candidate is not None:
                return candidate
    return None


def _objects(line: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a line, outer ones before the ones inside them."""
    decoder = json.JSONDecoder()
    start = line.find("{")
    while start != -1:
        try:
            found, _ = decoder.raw_decode(line, start)
        except (ValueError, RecursionError):  # not JSON, too deeply nested, or too large a number
            found = None
        if isinstance(found, dict):
            yield found
        start = line.find("{", start + 1)


def _candidate(found: dict[str, Any]) -> Candidate | None:
    run_id, version, model = found.get("run_id"), found.get("model_version"), found.get("model")
    if not isinstance(run_id, str) or not run_id:
        return None
    if model is not None and not isinstance(model, str):
        return None
    return Candidate(model=model or None, version=_number(version), run_id=run_id)


def _number(version: Any) -> int | None:
    if isinstance(version, bool) or not isinstance(version, int | str):
        return None
    text = str(version)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004 - 64 bits
