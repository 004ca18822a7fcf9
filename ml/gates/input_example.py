"""Whether a new server of the version can be tried before it gets traffic: said only if it can't."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml.errors import MlError
from ml.evidence import CheckOutcome, Verdict
from ml.gates.answers import Answers

NAME = "input_example"


def check(
    example: Sequence[Mapping[str, Any]], ask: Callable[[Sequence[Mapping[str, Any]]], Answers]
) -> Sequence[Verdict]:
    """Have the version answer its own input example, as the receiver will; a verdict says why it can't."""
    if not example:
        return [_fails("the version has no input example to try a new server with: log it with input_example=")]
    try:
        ask(example)
    except MlError as error:
        return [_fails(f"the version does not answer its own input example: {error}")]
    return []


def _fails(reason: str) -> Verdict:
    return Verdict(NAME, CheckOutcome.FAIL, 0.0, "<", 1.0, reason)
