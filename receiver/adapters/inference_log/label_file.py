"""Reading labels from a CSV or Parquet file: one row for each row of a request whose truth is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ml.environment.file import did_you_mean
from ml.live.labels import Label
from receiver.core.errors import Rejected

PARSE = pyarrow.csv.ParseOptions(newlines_in_values=True)


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The names of the columns. None: ``_request_id``, ``_row`` and ``_label``, else those without underscore."""

    request_id: str | None = None
    row: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The content of one file, in parts. Without a column of row numbers each row is about a request's first row."""

    file: Path
    columns: LabelColumns

    def rows(self) -> Iterator[Label | None]:
        """The labels; None for a row without one. Rejected: it is no such file."""
        position = 1
        for batch in self._batches():
            names = self._names(batch.schema.names)
            values = [batch[name].to_pylist() if name else [0] * batch.num_rows for name in names]
            for request_id, row, label in zip(*values, strict=True):
                position += 1
                yield self._label(position, request_id, row, label)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            if self.file.suffix == ".parquet":
                with pq.ParquetFile(self.file) as file:
                    yield from file.iter_batches()
            elif self.file.suffix == ".csv":
                names = _header(self.file)
                as_text = pyarrow.csv.ConvertOptions(  # "NA" may be the name of a class
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
                )
                with pyarrow.csv.open_csv(self.file, parse_options=PARSE, convert_options=as_text) as reader:
                    yield from reader
            else:
                raise Rejected(
                    f"{self.file}: found the ending {self.file.suffix!r}, allowed .csv or .parquet: convert it"
                )
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise Rejected(f"{self.file} cannot be read: {error}") from error

    def _names(self, known: Sequence[str]) -> tuple[str, str | None, str]:
        twice = sorted(name for name in set(known) if known.count(name) > 1)
        if twice:
            raise Rejected(f"{self.file} has two columns {twice[0]!r}: leave one out")
        wanted = self.columns
        row = wanted.row or next((name for name in ("_row", "row") if name in known), None)
        if row is not None and row not in known:
            raise self._missing(row, known, "--row")
        return (
            self._named(wanted.request_id, ("_request_id", "request_id"), known, "--id"),
            row,
            self._named(wanted.label, ("_label", "label"), known, "--label"),
        )

    def _named(self, wanted: str | None, usual: Sequence[str], known: Sequence[str], option: str) -> str:
        found = next((name for name in ([wanted] if wanted else usual) if name in known), None)
        if found is None:
            raise self._missing(wanted or usual[-1], known, option)
        return found

    def _missing(self, name: str, known: Sequence[str], option: str) -> Rejected:
        return Rejected(f"{self.file} has no column {name!r}: {did_you_mean(name, known)}; {option} names it")

    def _label(self, position: int, request_id: Any, row: Any, label: Any) -> Label | None:
        if request_id is None or row is None or label is None or label != label:  # noqa: PLR0124 - not a number
            return None
        try:
            return Label.read(request_id, row, label)
        except ValueError as error:
            raise Rejected(f"{self.file}: row {position}: {error}") from error


def _header(file: Path) -> Sequence[str]:
    with pyarrow.csv.open_csv(file, parse_options=PARSE) as reader:
        return list(reader.schema.names)
