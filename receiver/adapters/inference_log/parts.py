"""The Parquet files of one slot: parts in a directory per day, of which the newest of each schema grows.

A part is replaced as a whole, so a reader sees it before or after and never between. It names the last claim that was
added: a claim that a crash left half done is repeated, and what it had added already is not added again.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml.datasets.request_log import DAY, PREDICTION, days, parts, read_part

log = logging.getLogger(__name__)

CLAIM = b"pinrail.claim"
PART_BYTES = 8 << 20  # then a new part begins
PARTS_OF_CAP = 8  # a part has at most this fraction of all that may be kept, so that the cap costs little at a time


class Parts:
    """The parts of one slot. One process writes."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes

    def append(self, table: pa.Table, day: date, claim: str) -> None:
        """Add rows to the newest part of their schema, unless that has had this claim already. Raises OSError."""
        directory = self._directory / f"{DAY}{day}"
        directory.mkdir(parents=True, exist_ok=True)
        found = sorted(directory.glob("*.parquet"))
        part, schema = _growing(found, table.schema)
        if part is not None and (schema.metadata or {}).get(CLAIM) == claim.encode():
            return
        if part is not None:
            table = table.cast(schema.remove_metadata())
        if part is not None and part.stat().st_size < min(PART_BYTES, self._max_bytes // PARTS_OF_CAP):
            table = pa.concat_tables([read_part(part), table])
        else:
            part = directory / f"part-{_next_number(found):06d}.parquet"
        _replace(part, table.replace_schema_metadata({CLAIM: claim.encode()}))

    def trim(self, keep_days: int, waiting_bytes: int) -> None:
        """Remove what is too old, and then the oldest until all fits with ``waiting_bytes`` more."""
        oldest = datetime.now(UTC).date() - timedelta(days=keep_days)
        for directory, day in list(days(self._directory)):
            if day < oldest:
                shutil.rmtree(directory, ignore_errors=True)
        found = [(part, part.stat().st_size) for part, _ in parts(self._directory)]
        total = waiting_bytes + sum(size for _, size in found)
        for part, size in found:
            if total <= self._max_bytes:
                break
            part.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are in it
                part.parent.rmdir()
            total -= size


def _growing(parts: Sequence[Path], schema: pa.Schema) -> tuple[Path | None, pa.Schema]:
    """The newest part that holds such rows, and its schema. Predictions of unknown type fit to any."""
    for part in reversed(parts):
        try:
            known = pq.read_schema(part)
        except (OSError, pa.ArrowException) as error:
            log.warning("%s cannot be read: %s", part, error)
            continue
        wanted = schema
        if schema.field(PREDICTION).type == pa.null() and PREDICTION in known.names:
            position = schema.get_field_index(PREDICTION)
            wanted = schema.set(position, known.field(PREDICTION))
        if known.equals(wanted):
            return part, known
    return None, schema


def _next_number(parts: Sequence[Path]) -> int:
    return int(parts[-1].stem.removeprefix("part-")) + 1 if parts else 1


def _replace(path: Path, table: pa.Table) -> None:
    if table.schema.field(PREDICTION).type == pa.null():  # the first of its schema has no answer yet
        position = table.schema.get_field_index(PREDICTION)
        table = table.set_column(position, PREDICTION, table[PREDICTION].cast(pa.string()))
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
