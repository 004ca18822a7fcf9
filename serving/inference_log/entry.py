"""From an answered request to what a segment holds of it."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace
from pydantic_core import to_json

from serving.inference_log.redaction import Redaction
from serving.inference_log.segment import Record
from serving.model.predictions import Predictions
from serving.model.predictor import Params
from serving.model.schema import Row

PIECE_ROWS = 128  # of one request in one record
MAX_CALLER = 200  # bytes


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One answered request."""

    request_id: bytes
    caller: bytes
    protocol: str
    status: int
    reason: str  # why it was refused; empty where it was answered
    seconds: float
    size: int  # of its body, in bytes
    rows: Sequence[Row] | None  # None: it was not understood
    params: Params
    predictions: Predictions | None


def record(when: float, entry: Entry, redaction: Redaction) -> Record:
    """The whole entry; ``when`` is in seconds since the epoch."""
    rows, found, params = entry.rows, entry.predictions, entry.params
    table = None if found is None else found.probabilities
    return Record(
        int(when * 1e6),
        entry.request_id,
        entry.caller[:MAX_CALLER],
        entry.protocol,
        entry.status,
        entry.reason,
        int(entry.seconds * 1e6),
        to_json(params).decode() if params else None,
        0,
        None if rows is None else redaction.rows(rows),
        None if found is None else found.labels.tolist(),
        None if table is None else table.tolist(),
    )


def pieces(whole: Record) -> Iterator[Record]:
    """The same in records of PIECE_ROWS rows each."""
    rows, labels, table = whole.rows or (), whole.labels, whole.probabilities
    for start in range(0, len(rows), PIECE_ROWS):
        end = start + PIECE_ROWS
        yield replace(
            whole,
            start=start,
            rows=rows[start:end],
            labels=labels and labels[start:end],
            probabilities=table and table[start:end],
        )
