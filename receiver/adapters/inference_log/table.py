"""Records as a table with the types of the model's signature: one row for each row that was asked."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from ml.datasets.request_log import PREDICTION, PROBABILITIES, column_of
from serving.inference_log.segment import HASHED, Header, Record, SegmentInvalid

OWN = pa.schema(
    [
        ("_time", pa.timestamp("us", "UTC")),
        ("_request_id", pa.string()),
        ("_row", pa.int32()),
        ("_version", pa.int64()),
        ("_caller", pa.string()),
        ("_protocol", pa.string()),
        ("_status", pa.int16()),
        ("_reason", pa.string()),
        ("_latency_ms", pa.float64()),
        ("_params", pa.string()),
    ]
)
TYPES = {
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "datetime": pa.timestamp("us"),
    HASHED: pa.string(),
}
LABELS = {frozenset({bool}): pa.bool_(), frozenset({int}): pa.int64(), frozenset({str}): pa.string()}
NUMBERS = frozenset({int, float})


def to_table(segments: Iterable[tuple[Header, Sequence[Record]]], columns: Sequence[tuple[str, str]]) -> pa.Table:
    """The records of segments with these columns. SegmentInvalid: they are not what a model server writes.

    Where nothing was answered, the type of the predictions is null.
    """
    rows = [row for header, records in segments for record in records for row in _rows(header, record, len(columns))]
    values = list(zip(*rows, strict=True)) if rows else [()] * (len(OWN) + len(columns) + 2)
    own, features, (labels, probabilities) = values[: len(OWN)], values[len(OWN) : -2], values[-2:]
    try:
        arrays = [pa.array(column, field.type) for column, field in zip(own, OWN, strict=True)]
        arrays += [_feature(values, kind) for values, (_, kind) in zip(features, columns, strict=True)]
        arrays += [_labels(labels), pa.array(probabilities, pa.list_(pa.float64()))]
    except Exception as error:  # whatever somebody made of it must not stop the others
        raise SegmentInvalid(f"its values are not of the types that it names: {type(error).__name__}") from error
    names = [*OWN.names, *(column_of(name) for name, _ in columns), PREDICTION, PROBABILITIES]
    return pa.Table.from_arrays(arrays, names)


def _rows(header: Header, record: Record, width: int) -> Iterator[tuple[Any, ...]]:
    count = 1 if record.rows is None else len(record.rows)
    absent = [None] * count
    rows = [[None] * width] if record.rows is None else record.rows
    labels = absent if record.labels is None else record.labels
    table = absent if record.probabilities is None else record.probabilities
    if any(len(row) != width for row in rows) or not len(rows) == len(labels) == len(table):
        raise SegmentInvalid("its records have another number of values than it names")
    request_id, caller = record.request_id.decode("latin-1"), record.caller.decode("latin-1")
    for number, (row, label, probabilities) in enumerate(zip(rows, labels, table, strict=True), record.start):
        yield (
            *(record.time, request_id, number, header.version, caller, record.protocol, record.status),
            *(record.reason, record.microseconds / 1000, record.params),
            *row,
            *(label, probabilities),
        )


def _feature(values: Sequence[Any], kind: str) -> pa.Array:
    if kind == "string":  # a text that is missing may be NaN to the model
        values = [None if isinstance(value, float) else value for value in values]
    elif kind == "datetime":
        values = [value if value is None else datetime.fromisoformat(value) for value in values]
    return pa.array(values, TYPES[kind])


def _labels(labels: Sequence[Any]) -> pa.Array:
    """Labels of one type as it is, numbers as numbers, and everything else as JSON."""
    kinds = frozenset(type(label) for label in labels if label is not None)
    if not kinds:
        return pa.nulls(len(labels))
    if kinds <= NUMBERS and float in kinds:
        return pa.array(labels, pa.float64())
    try:
        return pa.array(labels, LABELS[kinds])
    except (KeyError, OverflowError):
        return pa.array([None if label is None else msgspec.json.encode(label).decode() for label in labels])
