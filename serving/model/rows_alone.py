"""Whether a model's answer to a row depends on the rows beside it, as far as its own example shows that."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving.errors import InvalidRequestError, PredictionError, UnsupportedModelError
from serving.model.predictions import Predictions

ROWS = 3  # more may take long
TOLERANCE = 1e-5  # of what 32-bit arithmetic gives for another number of rows


def require(ask: Callable[[Sequence[Mapping[str, Any]]], Predictions], example: Sequence[Mapping[str, Any]]) -> None:
    """Ask about the example's rows together and one by one. UnsupportedModelError: the answers differ."""
    rows = example[:ROWS]
    if len(rows) < 2:  # noqa: PLR2004 - a row has no company
        return
    try:
        together = ask(rows).labels.tolist()
        alone = [ask([row]).labels.tolist()[0] for row in rows]
    except (PredictionError, InvalidRequestError):  # said where the example is asked for good
        return
    for number, (one, other) in enumerate(zip(alone, together, strict=True)):
        if not _alike(one, other):
            raise UnsupportedModelError(
                f"its answer to row {number} of its input example is another one when that row is asked alone: the "
                f"answer to a row may depend on that row only, and not on chance"
            )


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)
