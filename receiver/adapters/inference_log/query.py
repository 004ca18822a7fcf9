"""Reading the inference log of a slot: the newest rows, or all of them into a file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from ml.datasets.request_log import PROBABILITIES, last_first, read_part
from ml.datasets.request_log import parts as parts_of
from receiver.adapters.inference_log.table import OWN
from receiver.core.errors import Rejected

FORMATS = (".parquet", ".csv")


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which rows are wanted; None: any."""

    since: datetime | None = None
    caller: str | None = None
    version: int | None = None


def newest(directory: Path, wanted: RequestFilter, limit: int) -> Sequence[Mapping[str, Any]]:
    """The last rows, newest first, each by the names of its columns."""
    found: list[Mapping[str, Any]] = []
    for part in last_first(part for part, _ in parts_of(directory)):
        table = _read(part, wanted)
        found += table.sort_by([("_time", "descending")]).slice(0, limit).to_pylist()
        if len(found) >= limit:
            break
    return sorted(found, key=lambda row: (row["_time"], -row["_row"]), reverse=True)[:limit]


def export(directory: Path, wanted: RequestFilter, file: Path) -> int:
    """Write all rows into a file, oldest first; returns how many. Rejected: its name ends with no known format."""
    if file.suffix not in FORMATS:
        raise Rejected(f"--out: found {file.name}, allowed a name that ends in {' or '.join(FORMATS)}: change it")
    parts = [part for part, _ in parts_of(directory)]
    schema = _common([pq.read_schema(part).remove_metadata() for part in parts])
    if file.suffix == ".csv":
        position = schema.get_field_index(PROBABILITIES)
        schema = schema.set(position, pa.field(PROBABILITIES, pa.string())) if position >= 0 else schema
    count = 0
    with _writer(file, schema) as write:
        for part in parts:
            table = _fitted(_read(part, wanted), schema)
            write(table)
            count += table.num_rows
    return count


def _read(part: Path, wanted: RequestFilter) -> pa.Table:
    conditions = []
    if wanted.since is not None:
        conditions.append(pc.field("_time") >= pa.scalar(wanted.since, pa.timestamp("us", "UTC")))
    if wanted.caller is not None:
        conditions.append(pc.field("_caller") == wanted.caller)
    if wanted.version is not None:
        conditions.append(pc.field("_version") == wanted.version)
    condition = None
    for each in conditions:
        condition = each if condition is None else condition & each
    try:
        return read_part(part, filters=condition)
    except FileNotFoundError:  # it became too old meanwhile
        return OWN.empty_table()


def _common(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """All columns of all parts; one whose type changed between versions as text."""
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowTypeError:
        types: dict[str, set[pa.DataType]] = {}
        for field in (field for schema in schemas for field in schema):
            types.setdefault(field.name, set()).add(field.type)
        return pa.schema([(name, found.pop() if len(found) == 1 else pa.string()) for name, found in types.items()])


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        column = table[field.name] if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        if pa.types.is_list(column.type) and pa.types.is_string(field.type):
            column = pa.array(
                [None if value is None else json.dumps(value) for value in column.to_pylist()], field.type
            )
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


@contextmanager
def _writer(file: Path, schema: pa.Schema) -> Iterator[Any]:
    try:
        if file.suffix == ".csv":
            with pyarrow.csv.CSVWriter(file, schema) as csv:
                yield csv.write_table
        else:
            with pq.ParquetWriter(file, schema, compression="zstd") as parquet:
                yield parquet.write_table
    except OSError as error:
        raise Rejected(f"--out: {file} cannot be written: {error}") from error
