"""Asking a model server over HTTP: rows for answers, and single rows for their time. Every answer is bounded."""

import http.client
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ml.errors import MlError
from ml.gates.subject import Record

ANSWER_BYTES = 32 << 20
REQUEST_ROWS = 256
WARM_UP = 20
ROWS = 300
ENOUGH_ROWS = 60  # of a model so slow that 300 would take longer than ENOUGH_SECONDS
ENOUGH_SECONDS = 5.0
SHOWN = 1000  # characters of what a server says


class Said(msgspec.Struct):
    """The answer of /predict."""

    predictions: list[Any]
    probabilities: list[list[float]] | None = None


class _TooSlowError(MlError):
    """The model server gave up waiting for the model."""


def ask_rows(connection: http.client.HTTPConnection, records: Sequence[Record]) -> list[Said]:
    """Ask about rows, some at a time. MlError: one is refused, or the model fails. ValueError: no valid answer."""
    starts = range(0, len(records), REQUEST_ROWS)
    return [said for start in starts for said in _ask_part(connection, records[start : start + REQUEST_ROWS])]


def _ask_part(connection: http.client.HTTPConnection, records: Sequence[Record]) -> list[Said]:
    """Ask about rows, in halves where they take the model too long together."""
    try:
        answer = request(connection, "POST", "/predict", msgspec.json.encode(records))
    except _TooSlowError:
        if len(records) == 1:
            raise
        half = len(records) // 2
        return _ask_part(connection, records[:half]) + _ask_part(connection, records[half:])
    said = msgspec.json.decode(answer, type=Said)
    if len(said.predictions) != len(records):
        raise MlError(f"the model gives {len(said.predictions)} answers to {len(records)} rows")
    return [said]


def time_rows(connection: http.client.HTTPConnection, records: Sequence[Record]) -> list[float]:
    """Return the seconds that each row takes by itself, without the warm-up. Raises what ``ask_rows`` does."""
    records = [records[i % len(records)] for i in range(WARM_UP + ROWS)]
    took: list[float] = []
    for record in records:
        if len(took) >= WARM_UP + ENOUGH_ROWS and sum(took) > ENOUGH_SECONDS:
            break
        body = msgspec.json.encode(_present(record))
        start = time.perf_counter()
        request(connection, "POST", "/predict", body)
        took.append(time.perf_counter() - start)
    return took[WARM_UP:]


def request(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> bytes:
    """Return the body of a good answer. MlError: it is none, or too long."""
    connection.request(method, path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read(ANSWER_BYTES + 1)
    if len(answer) > ANSWER_BYTES:
        raise MlError(f"the answer to {method} {path} is over {ANSWER_BYTES >> 20} MB")
    if response.status == http.HTTPStatus.OK:
        return answer
    kind = _TooSlowError if response.status == http.HTTPStatus.GATEWAY_TIMEOUT else MlError
    said = printable(answer[:SHOWN].decode(errors="replace"))
    raise kind(f"the model server answers {method} {path} with {response.status}: {said}")


def _present(record: Record) -> Mapping[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


def printable(text: str) -> str:
    """Return the end of a text in one line that no terminal takes for commands."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[-SHOWN:]
